"""Every promise of the contract bites: a transport that breaks it is caught by the test that states it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import attrs
import pytest

from fcflow.errors import TransportError
from fcflow.model import PartnerLimits
from fcflow.testing import MemoryHarness, TransportContract
from fcflow.transports import memory
from fcflow.transports.base import Capabilities, Delivery, Fetched, Finding, Offer, Outcome, Presence, Query, Receipt
from fcflow.transports.memory import MemoryPartner


class Bad:
    """Keeps every promise by handing on to a good transport; each class below breaks one."""

    def __init__(self, inner: Any, partner: MemoryPartner) -> None:
        self.inner, self.partner = inner, partner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return "Bad()"


class CutsContent(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        self.inner.send(attrs.evolve(delivery, content=delivery.content[:-1]))
        return Receipt(name=delivery.name, size=delivery.size)


class AddsRubbish(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        self.partner.put("base/in/left-behind.part", b"x")
        return self.inner.send(delivery)  # type: ignore[no-any-return]


class WritesVisibly(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        self.partner.put(f"base/in/{delivery.name}", delivery.content[:1])
        delivery.publishing()
        self.partner.put(f"base/in/{delivery.name}", delivery.content)
        return Receipt(name=delivery.name, size=delivery.size)


class NeverAsks(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        return self.inner.send(attrs.evolve(delivery, publishing=lambda: None))  # type: ignore[no-any-return]


class AsksTwice(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        delivery.publishing()
        return self.inner.send(delivery)  # type: ignore[no-any-return]


class NewNameEachTime(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        name = delivery.name + "x" * len(self.partner.files("base/in"))
        self.inner.send(attrs.evolve(delivery, name=name))
        return Receipt(name=delivery.name, size=delivery.size)


class Overwrites(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        delivery.publishing()
        self.partner.put(f"base/in/{delivery.name}", delivery.content)
        return Receipt(name=delivery.name, size=delivery.size)


class TrustsNames(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        delivery.publishing()
        self.partner._files[f"base/in/{delivery.name}"] = memory._File(delivery.content, memory._utc_now())
        return Receipt(name=delivery.name, size=delivery.size)


class BelievesTheName(Bad):
    def look_up(self, delivery: Delivery) -> Presence:
        self.inner.look_up(delivery)
        return Presence.PRESENT if delivery.name in self.partner.files("base/in") else Presence.ABSENT


class NeverSure(Bad):
    def look_up(self, delivery: Delivery) -> Presence:
        return Presence.UNKNOWN


class FindsNothing(Bad):
    """Errors become empty answers, as fsspec's own FTP class has it."""

    def list(self, feed: Any, query: Query) -> Iterator[Offer]:
        try:
            return self.inner.list(feed, query)  # type: ignore[no-any-return]
        except TransportError:
            return iter(())

    def look_up(self, delivery: Delivery) -> Presence:
        try:
            return self.inner.look_up(delivery)  # type: ignore[no-any-return]
        except TransportError:
            return Presence.ABSENT


class OffersAll(Bad):
    def list(self, feed: Any, query: Query) -> Iterator[Offer]:
        found = {offer.name: offer for offer in self.inner.list(attrs.evolve(feed, match="*"), query)}
        template = next(iter(found.values()), None)
        for name in self.partner.files("base/out"):
            assert template is not None
            yield found.get(name, attrs.evolve(template, name=name))


class NoBound(Bad):
    def list(self, feed: Any, query: Query) -> Iterator[Offer]:
        return self.inner.list(feed, attrs.evolve(query, max_files=1000))  # type: ignore[no-any-return]


class SwallowsOffers(Bad):
    def list(self, feed: Any, query: Query) -> Iterator[Offer]:
        offers = list(self.inner.list(feed, query))
        for offer in offers:
            self.partner.take(f"base/out/{offer.name}")
            self.partner.put(f"base/taken/{offer.name}", b"")
        return iter(offers)


class FetchesHalf(Bad):
    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        content = self.partner.get(f"base/out/{offer.name}")
        sink.write(content[: len(content) // 2])
        return Fetched(size=len(content) // 2, sha256="")


class FetchesAnything(Bad):
    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        content = self.partner.files("base/out").get(offer.name, b"")
        return Fetched(size=sink.write(content), sha256=__import__("hashlib").sha256(content).hexdigest())


class NeverSettles(Bad):
    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Nothing."""


class DeletesAlways(Bad):
    def settle(self, offer: Offer, outcome: Outcome) -> None:
        with contextlib.suppress(KeyError):
            self.partner.take(f"base/out/{offer.name}")


class ArchivesOver(Bad):
    def settle(self, offer: Offer, outcome: Outcome) -> None:
        with contextlib.suppress(KeyError):
            content = self.partner.take(f"base/out/{offer.name}")
            self.partner.put(f"base/out/archive/{offer.name}", content)


class SettlesOnce(Bad):
    def settle(self, offer: Offer, outcome: Outcome) -> None:
        if offer.name not in self.partner.files("base/out"):
            raise TransportError("it is gone")
        self.inner.settle(offer, outcome)


class RaisesItsOwn(Bad):
    def send(self, delivery: Delivery) -> Receipt:
        try:
            return self.inner.send(delivery)  # type: ignore[no-any-return]
        except TransportError as error:
            raise OSError("not ours") from error


class ChecksByWriting(Bad):
    def check(self) -> list[Finding]:
        self.partner.put("base/in/probe", b"x")
        return [Finding(level="ok", message="wrote")]


class CheckTakes(Bad):
    def check(self) -> list[Finding]:
        found = list(self.inner.check())
        self.partner.clear()
        return found


class OnlySendsSilently(Bad):
    """Says that nothing comes in, and then answers a look with nothing."""

    @property
    def capabilities(self) -> Capabilities:
        return attrs.evolve(self.inner.capabilities, receives=False)


class OnlyReceivesSilently(Bad):
    """Says that nothing leaves, and then takes an order."""

    @property
    def capabilities(self) -> Capabilities:
        return attrs.evolve(self.inner.capabilities, sends=False)


class CheckRaises(Bad):
    def check(self) -> list[Finding]:
        if self.partner.down:
            raise TransportError("down")
        return list(self.inner.check())


class ClosesOnce(Bad):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed")
        self.closed = True


class Shows(Bad):
    def __repr__(self) -> str:
        return f"Shows({MemoryHarness.secret or 'canary-7f3a'})"


CASES: list[tuple[type[Bad], str]] = [
    (CutsContent, "test_a_delivery_arrives_byte_for_byte"),
    (AddsRubbish, "test_a_delivery_arrives_byte_for_byte"),
    (WritesVisibly, "test_publishing_is_called_once_before_anything_is_visible"),
    (NeverAsks, "test_publishing_is_called_once_before_anything_is_visible"),
    (AsksTwice, "test_publishing_is_called_once_before_anything_is_visible"),
    (NeverAsks, "test_without_leave_to_publish_nothing_is_visible"),
    (WritesVisibly, "test_whole_or_not_at_all"),
    (NewNameEachTime, "test_the_same_delivery_twice_leaves_one_file"),
    (Overwrites, "test_other_content_is_never_overwritten"),
    (TrustsNames, "test_a_name_never_leads_elsewhere"),
    (NeverSure, "test_looking_up_tells_present_from_absent"),
    (BelievesTheName, "test_foreign_content_is_not_taken_for_ours"),
    (BelievesTheName, "test_half_a_delivery_is_partly_there"),
    (FetchesHalf, "test_a_file_is_offered_and_fetched_byte_for_byte"),
    (OffersAll, "test_only_what_matches_and_is_complete_is_offered"),
    (OffersAll, "test_hostile_names_are_not_offered_and_stop_nothing"),
    (NoBound, "test_no_more_is_offered_than_asked_for"),
    (SwallowsOffers, "test_what_was_not_settled_is_offered_again"),
    (NeverSettles, "test_what_was_settled_stays_away"),
    (SettlesOnce, "test_what_was_settled_stays_away"),
    (DeletesAlways, "test_leave_leaves"),
    (DeletesAlways, "test_a_refused_file_goes_to_the_failed_folder"),
    (ArchivesOver, "test_the_archive_keeps_every_file"),
    (DeletesAlways, "test_what_changed_after_it_was_taken_is_offered_again"),
    (FetchesAnything, "test_what_changed_after_it_was_offered_is_not_taken"),
    (FetchesAnything, "test_a_file_that_is_gone_is_an_error"),
    (FetchesAnything, "test_too_large_a_file_is_not_taken"),
    (FindsNothing, "test_a_failed_look_is_an_error"),
    (RaisesItsOwn, "test_an_error_before_publishing_means_not_published"),
    (FindsNothing, "test_a_look_that_fails_is_no_answer"),
    (ChecksByWriting, "test_checking_sends_nothing_and_never_raises"),
    (CheckRaises, "test_checking_sends_nothing_and_never_raises"),
    (CheckTakes, "test_checking_takes_nothing_and_never_raises"),
    (CheckRaises, "test_checking_takes_nothing_and_never_raises"),
    (Shows, "test_secrets_never_show_when_sending"),
    (Shows, "test_secrets_never_show_when_receiving"),
    (OnlySendsSilently, "test_what_only_sends_says_so"),
    (OnlyReceivesSilently, "test_what_only_receives_says_so"),
    (ClosesOnce, "test_closing_twice_is_harmless"),
]


CAUGHT = (AssertionError, pytest.fail.Exception, TransportError, OSError, RuntimeError, ValueError)


class BadHarness(MemoryHarness):
    """Opens the bad transport."""

    secret = "canary-7f3a"
    hostile_names = ()

    def __init__(self, kind: type[Bad]) -> None:
        super().__init__()
        self.kind = kind

    def open(self, limits: PartnerLimits | None = None) -> Any:
        return self.kind(super().open(limits), self.partner)


def _arguments(test: Callable[..., None], harness: MemoryHarness, caplog: Any) -> dict[str, Any]:
    """What pytest would hand over; of parameters one value that shows the fault."""
    given: dict[str, Any] = {
        "harness": harness,
        "transport": harness.open(),
        "caplog": caplog,
        "content": b"A1;1\r\n",
        "name": "x" * 300,
        "after": "archive",
    }
    wanted = [name for name in inspect.signature(test).parameters if name != "self"]
    return {name: given[name] for name in wanted}


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind.__name__}-{name[5:30]}" for kind, name in CASES])
@pytest.mark.fault(row=40, invariants="I1 I2 I3 I6")
def test_the_promise_bites(kind: type[Bad], name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The bad transport fails the test, and the good one beside it passes."""
    test = getattr(TransportContract(), name)
    harness = BadHarness(kind)
    if "hostile" in name:
        harness.hostile_names = ("C:drive.csv",)  # type: ignore[assignment]
        harness.answer = lambda name, content: harness.partner._files.__setitem__(  # type: ignore[method-assign]
            f"base/out/{name}", memory._File(content, memory._utc_now())
        )
    with pytest.raises(CAUGHT):
        test(**_arguments(test, harness, caplog))

    good = MemoryHarness()
    test(**_arguments(test, good, caplog))


def test_every_promise_has_a_transport_that_breaks_it() -> None:
    """So that no test of the contract passes for nothing."""
    promises = {name for name in dir(TransportContract) if name.startswith("test_")}
    broken = {name for _, name in CASES}

    assert promises - broken == {
        "test_a_folder_never_leads_elsewhere",
        "test_a_lost_connection_is_replaced",
        "test_a_lost_connection_is_replaced_for_the_next_look",
        "test_an_empty_folder_offers_nothing",
        "test_capabilities_are_stated",
    }
