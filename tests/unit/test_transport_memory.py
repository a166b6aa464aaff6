"""The partner inside this process."""

from __future__ import annotations

import pytest

from fcflow.errors import ConfigError
from fcflow.model import Connection
from fcflow.testing import MemoryHarness, TransportContract
from fcflow.transports import memory
from fcflow.transports.base import Endpoint


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
