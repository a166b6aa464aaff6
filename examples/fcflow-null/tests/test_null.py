"""The transport keeps the promises of every transport, and fcflow finds it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import TransportContract, TransportHarness
from fcflow.transports.base import Endpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import fcflow_null


class NullHarness(TransportHarness):
    """The partner's side."""

    def __init__(self) -> None:
        fcflow_null.partners.clear()
        self.partner = fcflow_null.partners.setdefault("leeds", fcflow_null.NullPartner("leeds"))

    def open(self, limits: PartnerLimits | None = None) -> fcflow_null.NullTransport:
        connection = Connection(url="null://leeds")
        return fcflow_null.build(
            Endpoint(partner="leeds", connection=connection, limits=limits or PartnerLimits(), resolve=str)
        )

    def feed(self, kind: str, **changes: Any) -> Feed:
        path = "in" if kind == "orders" else "out"
        return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})

    def arrived(self) -> Mapping[str, bytes]:
        return {name: content for (folder, name), content in self.partner.files.items() if folder == "in"}

    def place(self, name: str, content: bytes) -> None:
        self.partner.files["in", name] = content

    def collect(self, name: str) -> None:
        del self.partner.files["in", name]

    def answer(self, name: str, content: bytes) -> None:
        self.partner.files["out", name] = content

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        wanted = f"out/{folder}" if folder else "out"
        return {name: content for (at, name), content in self.partner.files.items() if at == wanted}

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.partner.is_away = True
        yield
        self.partner.is_away = False


class TestNull(TransportContract):
    """All promises."""

    @pytest.fixture
    def harness(self) -> NullHarness:
        return NullHarness()


def test_fcflow_finds_it() -> None:
    """Registered as the entry point does, it serves its scheme."""
    from fcflow.plugins import collect_plugins, plugin_manager

    manager = plugin_manager([])
    manager.register(fcflow_null, "null")

    assert collect_plugins(manager).transports["null"] is fcflow_null.TYPE
