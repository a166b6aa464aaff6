"""Who carries parcels: one name, however it is written."""

import csv
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcflow.carriers import Carrier, Carriers

ACME = Carrier(code="acme", name="Acme Vans", tracking_url="https://acme.example/{number}", names=["ACM"])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("DPD", "DPD"),
        ("dpd uk", "DPD UK"),
        ("Interlink Express", "DPD UK"),
        ("ROYAL  MAIL", "Royal Mail"),
        ("Oesterreichische Post", "Oesterreichische Post"),
        ("osterreichische post", "Österreichische Post"),
        ("U.P.S.", "UPS"),
        ("Hermes UK", "Evri"),
        ("La Poste", "Colissimo"),
        ("My Nephew", "My Nephew"),
    ],
)
def test_a_carrier_has_one_name_and_an_unknown_one_stays_as_it_was_said(said, name):
    """
    Case, accents, blanks and punctuation do not matter.
    """
    assert Carriers().name_of(said) == name


def test_a_partners_own_word_wins_over_every_table():
    """
    What a partner calls DPD may be what others call UPS.
    """
    assert Carriers().name_of("UPS", {"ups": "dpd-uk"}) == "DPD UK"
    assert Carriers().name_of("Van 3", {"van 3": "Our van"}) == "Van 3"


def test_own_carriers_are_known_beside_the_usual_ones_and_win():
    """
    By code, name, and any other name.
    """
    own = Carriers([ACME, Carrier(code="ups", name="UPS by us")])
    assert [own.name_of(said) for said in ("acme", "ACME vans", "acm", "ups", "fedex")] == [
        *["Acme Vans"] * 3,
        "UPS by us",
        "FedEx",
    ]
    assert own.urls_of("acm", ["A1", "A2"]) == ["https://acme.example/A1", "https://acme.example/A2"]
    assert own.urls_of("ups", ["1Z"]) == []
    assert own.urls_of("My Nephew", ["1"]) == own.urls_of(None, ["1"]) == []


@pytest.mark.parametrize(
    "url", ["ftp://x/{number}", "https://x/", "https://x/{number}/{number}", "javascript:{number}"]
)
def test_an_address_that_follows_nothing_is_refused(url):
    """
    Of the web, with the number once.
    """
    with pytest.raises(ValueError, match="expected an address"):
        Carrier(code="x", name="x", tracking_url=url)


@given(st.text())
def test_a_tracking_number_never_changes_where_an_address_leads(number):
    """
    Whatever a partner writes for a number stands in the address as one quoted piece.
    """
    url = ACME.url_of(number.encode("utf-8", "replace").decode())
    assert url.startswith("https://acme.example/")
    assert not set(url[len("https://acme.example/") :]) & set("/?#&<>\"' ")


def test_no_name_stands_for_two_carriers():
    """
    Nor does one of the table lead nowhere.
    """
    rows = list(csv.DictReader(files("fcflow").joinpath("carriers.csv").read_text(encoding="utf-8").splitlines()))
    known = Carriers()
    for row in rows:
        for name in (row["code"], row["name"], *row["names"].split("|")):
            found = known.find(name)
            assert (name, found.code) == (name, row["code"])
        assert known.urls_of(row["code"], ["1"])
