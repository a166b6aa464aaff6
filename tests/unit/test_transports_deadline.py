"""Deadlines over calls of libraries: one thread looks after all of them."""

from __future__ import annotations

import os
import threading
import time

import pytest

from fcflow.transports._deadline import Deadline


def watchers() -> int:
    return sum(thread.name == "fcflow-deadlines" for thread in threading.enumerate())


def test_a_missed_deadline_ends_what_is_under_way() -> None:
    """
    The blocked call is released, and the deadline knows that it was missed.
    """
    released = threading.Event()
    deadline = Deadline(released.set)

    with deadline.over(0.05):
        assert released.wait(5)

    assert deadline.passed


def test_what_ends_in_time_is_never_ended() -> None:
    """
    Behind the block nothing is aborted, however soon the deadline would have been.
    """
    aborted: list[int] = []
    deadline = Deadline(lambda: aborted.append(1))

    for _ in range(200):
        with deadline.over(0.03):
            pass
    time.sleep(0.08)

    assert (aborted, deadline.passed) == ([], False)


def test_a_shorter_deadline_is_kept_beside_a_longer_one() -> None:
    """
    The one that is due first is missed first, whenever it was set.
    """
    order: list[str] = []
    released = threading.Event()
    long, short = Deadline(lambda: order.append("long")), Deadline(lambda: (order.append("short"), released.set())[0])

    with long.over(30), short.over(0.05):
        assert released.wait(5)

    assert (order, long.passed, short.passed) == (["short"], False, True)


def test_many_deadlines_cost_one_thread() -> None:
    """
    However many transports there are, one thread looks after them.
    """
    deadlines = [Deadline(lambda: None) for _ in range(50)]

    def hold(deadline: Deadline) -> None:
        with deadline.over(30):
            time.sleep(0.05)

    threads = [threading.Thread(target=hold, args=(each,)) for each in deadlines]
    for thread in threads:
        thread.start()
    seen = watchers()
    for thread in threads:
        thread.join()

    assert seen == 1


def test_one_that_cannot_be_ended_does_not_harm_the_others() -> None:
    """
    An abort that fails is passed over.
    """

    def fails() -> None:
        raise OSError("gone")

    released = threading.Event()
    with Deadline(fails).over(0.02), Deadline(released.set).over(0.05):
        assert released.wait(5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.fault(row=39, invariants="I7")
def test_a_forked_process_has_deadlines_of_its_own() -> None:
    """
    The thread stays in the parent; the child starts one when it needs it.
    """
    with Deadline(lambda: None).over(30):
        child = os.fork()
        if child == 0:
            released = threading.Event()
            with Deadline(released.set).over(0.05):
                os._exit(0 if released.wait(5) else 1)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
