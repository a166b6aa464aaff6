"""Trying again: what may go away by itself, how often, and how long the partner asked for."""

import pytest

from fcflow.errors import TransportRefusedError, TransportUnavailableError
from fcflow.model import PartnerLimits
from fcflow.phases.retry import attempt

AT_ONCE = PartnerLimits(tries=3, backoff_s=0)


class Failing:
    """Fails so often, then answers; counts its calls."""

    def __init__(self, times, error):
        self.left = times
        self.error = error
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


def test_what_may_go_away_is_tried_again_up_to_the_limit():
    """
    Two failures are survived with three tries, three are not.
    """
    assert attempt(Failing(2, TransportUnavailableError("x")), AT_ONCE) == "answer"
    call = Failing(3, TransportUnavailableError("x"))
    with pytest.raises(TransportUnavailableError):
        attempt(call, AT_ONCE)
    assert call.calls == 3


def test_a_refusal_is_not_tried_again():
    """
    The partner's no is a no for this run.
    """
    call = Failing(1, TransportRefusedError("no"))
    with pytest.raises(TransportRefusedError):
        attempt(call, AT_ONCE)
    assert call.calls == 1


def test_a_partner_who_asks_for_time_is_waited_for(monkeypatch):
    """
    The wait is as long as the partner asked for, where that is longer than our own.
    """
    waited = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waited.append)
    error = TransportUnavailableError("busy")
    error.retry_after_s = 7
    assert attempt(Failing(1, error), AT_ONCE) == "answer"
    assert waited == [7]


def test_a_partner_who_asks_for_more_than_a_minute_is_left_to_the_next_run():
    """
    A run does not sleep for an hour.
    """
    error = TransportUnavailableError("busy")
    error.retry_after_s = 3600
    call = Failing(1, error)
    with pytest.raises(TransportUnavailableError):
        attempt(call, AT_ONCE)
    assert call.calls == 1
