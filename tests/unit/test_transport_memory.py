"""The partner inside this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from fcflow.errors import ConfigError
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import TransportContract, TransportHarness
from fcflow.transports import memory
from fcflow.transports.base import Endpoint, Transport
from fcflow.transports.memory import MemoryPartner


class MemoryHarness(TransportHarness):
    """The partner's side is the same object."""

    def __init__(self) -> None:
        self.partner = MemoryPartner.named("contract")
        self.partner.clear()

    def open(self, limits: PartnerLimits | None = None) -> Transport:
        connection = Connection(url="memory://contract/base")
        return memory.build(
            Endpoint(partner="leeds", connection=connection, limits=limits or PartnerLimits(), resolve=str)
        )

    def feed(self, kind: str, **changes: Any) -> Feed:
        path = "in" if kind == "orders" else "out"
        return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})

    def arrived(self) -> Mapping[str, bytes]:
        return self.partner.files("base/in")

    def place(self, name: str, content: bytes) -> None:
        self.partner.put(f"base/in/{name}", content)

    def collect(self, name: str) -> None:
        self.partner.take(f"base/in/{name}")

    def answer(self, name: str, content: bytes) -> None:
        self.partner.put(f"base/out/{name}", content)

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        return self.partner.files(f"base/out/{folder}")

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.partner.down = True
        yield
        self.partner.down = False


class TestMemory(TransportContract):
    """The whole contract."""

    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()


def test_a_url_without_a_name_is_a_fault() -> None:
    """It would share its folders with every other such URL."""
    with pytest.raises(ConfigError) as caught:
        memory.build(Endpoint(partner="leeds", connection=Connection(url="memory://"), resolve=str))

    assert "memory://name" in str(caught.value)
