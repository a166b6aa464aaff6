"""What partners' words mean."""

import pytest

from fcflow.model import Status
from fcflow.status import resolve_status, status_key


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("SHIPPED", Status.SHIPPED),
        ("COMPLETE", Status.SHIPPED),
        ("CANCELLED", Status.CANCELLED),
        ("CANCELED", Status.CANCELLED),
        ("ERROR", Status.ERROR),
    ],
)
def test_the_ancestors_words_are_built_in_without_regard_to_case(word, status):
    """
    SHIPPED COMPLETE CANCELLED ERROR mean what they mean in Linnworks, in any case and with blanks around.
    """
    assert resolve_status(word) is status
    assert resolve_status(f"  {word.lower()} \t") is status
    assert resolve_status(word.title()) is status


@pytest.mark.parametrize("status", list(Status))
def test_our_own_words_are_understood(status):
    """
    Every `Status` value stands for itself.
    """
    assert resolve_status(status.value) is status


@pytest.mark.parametrize("word", ["part shipped", "PART-SHIPPED", "Part__Shipped", "part - shipped", "_part shipped-"])
def test_blanks_underscores_and_hyphens_are_one(word):
    """
    Two spellings that differ only in blanks, underscores, hyphens and case are one word.
    """
    assert status_key(word) == "part_shipped"
    assert resolve_status(word) is Status.PART_SHIPPED


def test_the_partners_words_win():
    """
    A partner may give a built-in word another meaning, and spell its own words as it likes.
    """
    words = {"Complete": "accepted", "In Arbeit": "IN WORK"}

    assert resolve_status("COMPLETE", words) is Status.ACCEPTED
    assert resolve_status("in-arbeit", words) is Status.IN_WORK
    assert resolve_status("SHIPPED", words) is Status.SHIPPED


@pytest.mark.parametrize("word", [None, "", "   ", "-", "PROCESSING", "ship ped", "N/A", "0"])
def test_an_unknown_or_blank_word_means_nothing(word):
    """
    A word that nobody explained is ``None``, never a guess.
    """
    assert resolve_status(word) is None


def test_a_word_that_is_mapped_to_no_status_means_nothing():
    """
    A partner's word wins even where its meaning is not one of ours: it does not fall back to a built-in meaning.
    """
    assert resolve_status("shipped", {"shipped": "verschickt"}) is None
