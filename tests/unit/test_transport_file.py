"""The local folder, any fsspec file system, and what is the same for all folders."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fcflow.errors import (
    TransportCorruptError,
    TransportError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnclearError,
    TransportUnsupportedError,
)
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import FolderHarness, TransportContract
from fcflow.transports import file
from fcflow.transports.base import Delivery, Endpoint, Outcome, Presence, Query, Transport


def connect(url: str, base: Path, limits: PartnerLimits | None = None, **options: Any) -> Transport:
    connection = Connection(url=url, options=options)
    return file.build(
        Endpoint(partner="leeds", connection=connection, limits=limits or PartnerLimits(), base=base, resolve=str)
    )


@contextlib.contextmanager
def moved_away(path: Path) -> Iterator[None]:
    away = path.with_name("away")
    path.rename(away)
    yield
    away.rename(path)


def feed(kind: str = "orders", **changes: Any) -> Feed:
    return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", **changes})


def delivery(content: bytes = b"A1;1\n", **changes: Any) -> Delivery:
    return Delivery(**{"key": "k-1", "feed": feed(), "name": "orders-1.csv", "content": content, **changes})


class TestLocalFolder(TransportContract):
    """A plain path below the configuration."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> FolderHarness:
        root = tmp_path / "root"
        root.mkdir()
        made = FolderHarness(
            root, lambda folder, limits: connect(f"root/{folder}", tmp_path, limits), lambda: moved_away(root)
        )
        made.hostile_names = (*made.hostile_names, "new\nline.csv", os.fsdecode(b"\xff\xfe.csv"))
        return made


class TestDirectWriting(TransportContract):
    """The same folder without renaming: not atomic, and it says so."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> FolderHarness:
        root = tmp_path / "root"
        root.mkdir()
        return FolderHarness(
            root,
            lambda folder, limits: connect(f"file://{root}/{folder}", tmp_path, limits, publish="direct"),
            lambda: moved_away(root),
        )

    def test_it_says_that_it_is_not_atomic(self, transport: Transport) -> None:
        """The weaker promise shows in the capabilities and in a finding."""
        assert not transport.capabilities.atomic_publish
        assert "transport.not_atomic" in [finding.code for finding in transport.check()]


class _FolderStore(fsspec.AbstractFileSystem):  # type: ignore[misc]  # has no types
    """A file system of a stranger: local files behind another protocol."""

    protocol = "fcflowtest"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = fsspec.filesystem("file", skip_instance_cache=True)

    def __getattribute__(self, name: str) -> Any:
        if name in ("ls", "info", "mv", "cp_file", "rm_file", "open", "makedirs", "pipe_file"):
            return getattr(super().__getattribute__("inner"), name)
        return super().__getattribute__(name)


class TestStrangersFileSystem(TransportContract):
    """A file system that fsspec finds by its protocol."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> FolderHarness:
        fsspec.register_implementation("fcflowtest", _FolderStore, clobber=True)
        root = tmp_path / "root"
        root.mkdir()
        return FolderHarness(
            root,
            lambda folder, limits: connect(f"fcflowtest://{root}/{folder}", tmp_path, limits),
            lambda: moved_away(root),
        )


# ---------------------------------------------------------------------- publishing


def test_done_marker_is_written_after_the_file(tmp_path: Path) -> None:
    """A partner who waits for the marker finds a whole file."""
    marked = delivery(feed=feed(options={"done_marker": "{stem}.ok"}))
    transport = connect(".", tmp_path)

    transport.send(marked)

    assert sorted(os.listdir(tmp_path)) == ["orders-1.csv", "orders-1.ok"]
    (tmp_path / "orders-1.ok").unlink()
    assert transport.look_up(marked) is Presence.PARTLY
    transport.send(marked)
    assert transport.look_up(marked) is Presence.PRESENT


def test_a_missing_folder_is_an_error_unless_it_may_be_made(tmp_path: Path) -> None:
    """A misspelt folder must not swallow orders."""
    with pytest.raises(TransportNotFoundError):
        connect("nowhere", tmp_path).send(delivery())

    connect("nowhere", tmp_path, create=True).send(delivery())
    assert (tmp_path / "nowhere" / "orders-1.csv").read_bytes() == b"A1;1\n"


def test_half_a_direct_upload_is_finished_and_foreign_content_is_not(tmp_path: Path) -> None:
    """Only a beginning of our own content is written over."""
    transport = connect(".", tmp_path, publish="direct")
    (tmp_path / "orders-1.csv").write_bytes(b"A1")
    assert transport.look_up(delivery()) is Presence.PARTLY
    transport.send(delivery())
    assert (tmp_path / "orders-1.csv").read_bytes() == b"A1;1\n"

    (tmp_path / "orders-1.csv").write_bytes(b"B2")
    assert transport.look_up(delivery()) is Presence.UNKNOWN
    with pytest.raises(TransportRefusedError):
        transport.send(delivery())


def test_what_was_read_back_must_be_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``verify: content`` a flipped bit of the right size is found before anything is visible."""
    transport: Any = connect(".", tmp_path, verify="content")
    monkeypatch.setattr(
        type(transport.server), "write", lambda self, path, content: (tmp_path / path).write_bytes(b"X" + content[1:])
    )

    with pytest.raises(TransportCorruptError):
        transport.send(delivery())
    assert os.listdir(tmp_path) == []


def test_a_rename_never_replaces(tmp_path: Path) -> None:
    """A file that appears under the final name in the last moment is kept."""
    late = delivery(publishing=lambda: (tmp_path / "orders-1.csv").write_bytes(b"late") and None)

    with pytest.raises(TransportRefusedError):
        connect(".", tmp_path).send(late)
    assert (tmp_path / "orders-1.csv").read_bytes() == b"late"


def test_a_twin_that_was_faster_is_no_error(tmp_path: Path) -> None:
    """The same delivery published by another process in the last moment is published."""
    twin = delivery(publishing=lambda: connect(".", tmp_path).send(delivery()) and None)

    connect(".", tmp_path).send(twin)

    assert os.listdir(tmp_path) == ["orders-1.csv"]


# ---------------------------------------------------------------------- taking in


@pytest.mark.fault(row=9, invariants="I2")
def test_a_young_file_waits(tmp_path: Path) -> None:
    """With ``min_age_s`` a file is offered once its time of change lies back far enough."""
    path = tmp_path / "s.csv"
    path.write_bytes(b"x")
    patient = feed("status", options={"min_age_s": 60})
    transport = connect(".", tmp_path)
    assert list(transport.list(patient, Query())) == []

    then = (datetime.now(UTC) - timedelta(seconds=61)).timestamp()
    os.utime(path, (then, then))
    assert len(list(transport.list(patient, Query()))) == 1


@pytest.mark.fault(row=14, invariants="I1")
def test_a_clock_that_is_ahead_delays_but_does_not_hide(tmp_path: Path) -> None:
    """A file from the future is taken when it did not change for as long by our own clock."""
    path = tmp_path / "s.csv"
    path.write_bytes(b"x")
    os.utime(path, (4e9, 4e9))
    patient = feed("status", options={"min_age_s": 60})
    transport: Any = connect(".", tmp_path)
    clock = iter([0.0, 30.0, 30.0, 61.0, 61.0, 61.0])
    transport.monotonic = lambda: next(clock)

    looks = [len(list(transport.list(patient, Query()))) for _ in range(3)]

    assert looks == [0, 0, 1]


@pytest.mark.fault(row=9, invariants="I2")
def test_a_file_waits_for_its_done_marker(tmp_path: Path) -> None:
    """Without it nothing is offered; with it the file is, the marker is not, and both go when it is settled."""
    marked = feed("status", options={"done_marker": "{name}.done"})
    transport = connect(".", tmp_path)
    (tmp_path / "s.csv").write_bytes(b"x")
    assert list(transport.list(marked, Query())) == []

    (tmp_path / "s.csv.done").write_bytes(b"")
    [offer] = transport.list(marked, Query())
    transport.settle(offer, Outcome.APPLIED)

    assert os.listdir(tmp_path) == ["archive"]
    assert os.listdir(tmp_path / "archive") == ["s.csv"]


def test_oldest_first(tmp_path: Path) -> None:
    """So that the newest picture of the stock is the last one applied."""
    for name, when in (("a.csv", 300), ("b.csv", 100), ("c.csv", 200)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (when, when))

    assert [offer.name for offer in connect(".", tmp_path).list(feed("stock"), Query())] == ["b.csv", "c.csv", "a.csv"]


@pytest.mark.fault(row=24, invariants="I8")
def test_links_are_neither_offered_nor_followed(tmp_path: Path) -> None:
    """A partner cannot make us read a file outside of the folder."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.csv").write_bytes(b"s")
    (inside / "link.csv").symlink_to(tmp_path / "secret.csv")
    (inside / "out").symlink_to(tmp_path)
    transport = connect("inside", tmp_path)

    assert list(transport.list(feed("status"), Query())) == []
    with pytest.raises(TransportRefusedError):
        list(transport.list(feed("status", path="out"), Query()))
    with pytest.raises(TransportRefusedError):
        transport.send(delivery(feed=feed(path="out")))


def test_a_strange_token_is_an_error(tmp_path: Path) -> None:
    """Tokens come back from a store; what is not one of ours is refused, whatever it holds."""
    import attrs

    (tmp_path / "s.csv").write_bytes(b"x")
    transport = connect(".", tmp_path)
    [offer] = transport.list(feed("status"), Query())
    for token in ("", "[]", "{}", '{"folder": "..", "name": "x", "size": 1, "modified_at": null}'):
        with pytest.raises(TransportError):
            transport.fetch(attrs.evolve(offer, token=token), io.BytesIO())


@pytest.mark.fault(row=10, invariants="I2")
def test_a_file_that_grows_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    """Its size before, after and as received must be one."""
    (tmp_path / "s.csv").write_bytes(b"x" * 10)
    transport = connect(".", tmp_path)
    [offer] = transport.list(feed("status"), Query())

    class Growing(io.BytesIO):
        def write(self, block: Any) -> int:
            with (tmp_path / "s.csv").open("ab") as more:
                more.write(b"y")
            return super().write(block)

    with pytest.raises(TransportCorruptError):
        transport.fetch(offer, Growing())


# ---------------------------------------------------------------------- object stores and strangers


class _Bucket(MemoryFileSystem):  # type: ignore[misc]  # has no types
    """An object store in memory: no folders, a missing prefix is not found."""

    protocol = "tos"
    store: dict[str, Any] = {}  # noqa: RUF012 - as its base has it
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("tos://")))


@pytest.fixture
def bucket() -> _Bucket:
    fsspec.register_implementation("tos", _Bucket, clobber=True)
    _Bucket.store.clear()
    _Bucket.pseudo_dirs[:] = ["", "/shop"]
    return _Bucket(skip_instance_cache=True)


def test_an_object_store_publishes_by_one_put(tmp_path: Path, bucket: _Bucket) -> None:
    """No temporary name is needed, and it is atomic."""
    transport = connect("tos://shop/leeds", tmp_path)

    transport.send(delivery())
    transport.send(delivery())

    assert transport.capabilities.atomic_publish
    assert list(bucket.store) == ["/shop/leeds/orders-1.csv"]
    assert transport.look_up(delivery()) is Presence.PRESENT


def test_an_empty_prefix_is_an_empty_folder_and_a_missing_bucket_is_not(tmp_path: Path, bucket: _Bucket) -> None:
    """In an object store folders exist only with their files; a misspelt bucket is an error all the same."""
    assert list(connect("tos://shop/leeds", tmp_path).list(feed("status"), Query())) == []
    with pytest.raises(TransportNotFoundError):
        list(connect("tos://shoop/leeds", tmp_path).list(feed("status"), Query()))


def test_an_object_is_archived_by_copy_and_removal(tmp_path: Path, bucket: _Bucket) -> None:
    """The offer is gone, the content is in the archive."""
    bucket.pipe_file("/shop/leeds/s.csv", b"x")
    transport = connect("tos://shop/leeds", tmp_path)
    [offer] = transport.list(feed("status"), Query())

    transport.settle(offer, Outcome.APPLIED)

    assert list(bucket.store) == ["/shop/leeds/archive/s.csv"]


def test_a_put_whose_answer_is_lost_is_unclear(
    tmp_path: Path, bucket: _Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error after publishing began is not a failure; a look tells."""

    def put(self: Any, path: str, value: bytes) -> None:
        MemoryFileSystem.pipe_file(self, path, value)
        raise ConnectionResetError("lost")

    transport = connect("tos://shop/leeds", tmp_path)
    monkeypatch.setattr(_Bucket, "pipe_file", put)

    with pytest.raises(TransportUnclearError):
        transport.send(delivery())
    assert transport.look_up(delivery()) is Presence.PRESENT


@pytest.mark.fault(row=40, invariants="I7")
def test_a_store_that_hangs_is_left(tmp_path: Path, bucket: _Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without a deadline of its own gets ours."""
    import threading

    released = threading.Event()
    monkeypatch.setattr(_Bucket, "ls", lambda self, *args, **kwargs: released.wait(20))
    transport = connect("tos://shop", tmp_path, PartnerLimits(timeout_s=0.2))

    with pytest.raises(TransportTimeoutError):
        list(transport.list(feed("status"), Query()))
    released.set()


def test_a_file_system_that_is_not_installed_says_what_to_install(tmp_path: Path) -> None:
    """At the first use, as an error of ours."""
    with pytest.raises(TransportUnsupportedError, match="oss"):
        list(connect("oss://shop", tmp_path).list(feed("status"), Query()))
