"""Layouts that are proposed from samples, as partners in several countries write them."""

import json
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcflow.errors import FormatError
from fcflow.formats import load_layout
from fcflow.formats.infer import infer


def fields(kind, sample, encoding="utf-8"):
    return [column.field for column in infer(sample.encode(encoding), kind).columns]


STATUSES = {
    "en": "Order No,Status,Carrier,Tracking Number,Ship Date\nA1,Despatched,Royal Mail,AB123456789GB,2026-03-02\n",
    "de": "Auftragsnr;Status;Paketdienst;Sendungsnummer;Versanddatum\nA1;Versandt;DHL;00340434161094;02.03.2026\n",
    "fr": "N° commande;Statut;Transporteur;Numéro de suivi;Date d'expédition\nA1;Expédiée;GLS;6A123456789;13/03/2026\n",
    "es": "Nº pedido;Estado;Transportista;Nº seguimiento;Fecha de envío\nA1;Enviado;SEUR;1234567890;13/03/2026\n",
    "it": "Numero ordine;Stato;Corriere;LDV;Data spedizione\nA1;Spedito;BRT;123456789012;13/03/2026\n",
    "nl": "Ordernummer\tStatus\tVervoerder\tTrackingcode\tVerzonden op\nA1\tVerzonden\tDHL\t3SABC123456\t13-03-2026\n",
    "pl": "Nr zamówienia|Stan|Przewoźnik|Numer przesyłki|Data wysyłki\nA1|Wysłane|InPost|620012345678|2026-03-13\n",
}


@pytest.mark.parametrize("language", STATUSES)
def test_a_status_file_is_understood_in_every_language(language):
    """
    Names, words and dates; the row means what its writer meant.
    """
    sample = STATUSES[language].encode()
    proposal = infer(sample, "status")
    assert [column.field for column in proposal.columns] == [
        *("reference", "status", "carrier", "tracking_numbers", "shipped_at"),
    ]
    [record], problems = proposal.layout.read(sample)
    assert problems == []
    assert (record.value.reference, record.value.status) == ("A1", "shipped")
    [parcel] = record.value.shipments
    assert (len(parcel.tracking_numbers), parcel.shipped_at.month) == (1, 3)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("SKU,Qty\nMUG,5\n", ["sku", "on_hand"]),
        ("Artikelnummer;Bezeichnung;Lagerbestand\nMUG;Becher;5\n", ["sku", None, "on_hand"]),
        ("Référence;Quantité\nMUG;5\n", ["sku", "on_hand"]),
        ("Código artículo;Existencias\nMUG;5\n", ["sku", "on_hand"]),
        ("Codice articolo;Giacenza;Magazzino\nMUG;5;MI\n", ["sku", "on_hand", "location"]),
        ("Artikelcode;Voorraad\nMUG;5\n", ["sku", "on_hand"]),
        ("Indeks;Stan magazynowy\nMUG;5\n", ["sku", "on_hand"]),
        ("sellerSku|availableQuantity|reservedQuantity\nMUG|5|2\n", ["sku", "on_hand", "reserved"]),
        ("MUG-1,5\nCUP-2,7\nHAT-3,0\n", ["sku", "on_hand"]),
        ('{"sku":"MUG","qty":5,"site":"L1"}\n', ["sku", "on_hand", "location"]),
    ],
)
def test_a_stock_file_is_understood(sample, expected):
    """
    With a header in any of seven languages, without one, and as JSON lines.
    """
    proposal = infer(sample.encode(), "stock")
    assert [column.field for column in proposal.columns] == expected
    records, problems = proposal.layout.read(sample.encode())
    assert (problems, records[0].value.on_hand) == ([], 5)


@pytest.mark.parametrize(
    "header",
    [
        "Order Number,Full Name,Address Line 1,City,Postcode,Country,SKU,Quantity",
        "Auftragsnummer,Empfänger,Straße,Ort,PLZ,Land,Artikelnummer,Menge",
        "Numéro de commande,Destinataire,Adresse,Ville,Code postal,Pays,Code article,Quantité",
        "Número de pedido,Destinatario,Dirección,Población,Código postal,País,Código artículo,Cantidad",
        "Numero ordine,Destinatario,Indirizzo,Città,CAP,Paese,Codice articolo,Quantità",
        "Ordernummer,Ontvanger,Adres,Plaats,Postcode,Land,Artikelcode,Aantal",
        "Numer zamówienia,Odbiorca,Ulica,Miasto,Kod pocztowy,Kraj,Kod produktu,Ilość",
    ],
)
def test_an_order_file_is_understood_in_every_language(header):
    """
    Whom, where, what and how many.
    """
    assert fields("orders", header + "\nA1,Ada Byron,1 High St,Leeds,LS1 1AA,GB,MUG,2\n") == [
        "fulfilment_id",
        *("ship_to.name", "ship_to.address1", "ship_to.town", "ship_to.postcode", "ship_to.country"),
        *("line.partner_sku", "line.quantity"),
    ]


def test_lines_above_the_header_are_passed_over_and_an_encoding_is_guessed():
    """
    The layout says both, and a person is told.
    """
    sample = "Bestand vom 02.03.2026;;\r\nArtikelnr.;Bezeichnung;Verfügbarer Bestand\r\nMUG;Täßchen;5\r\n"
    proposal = infer(sample.encode("cp1252"), "stock")
    codec = proposal.document["codec"]
    assert (codec["encoding"], codec["find_header"], codec["delimiter"]) == ("cp1252", True, ";")
    assert proposal.decisions[:2] == ("the encoding was guessed: cp1252", "1 lines above the header are passed over")
    assert proposal.layout.read(sample.encode("cp1252"))[0][0].value.on_hand == 5


def test_day_and_month_are_told_apart_by_values_above_twelve_or_else_asked():
    """
    A date that could be either is a decision of a person.
    """
    row = "Order No,Status,Ship Date\nA1,Shipped,{}\n"
    asked = infer(row.format("03/04/2026").encode(), "status").decisions
    assert asked == ("column 'Ship Date': day and month cannot be told apart; %d/%m/%Y was taken",)
    american = infer(row.format("03/14/2026").encode(), "status")
    assert american.decisions == ()
    assert american.document["fields"][2]["pattern"] == "%m/%d/%Y"


def test_words_that_nobody_knows_are_asked_for():
    """
    The others are mapped.
    """
    sample = b"Order No,Status\nA1,Shipped\nA2,Beamed\n"
    proposal = infer(sample, "status")
    assert proposal.decisions == ("column 'Status': what does 'Beamed' mean?",)
    assert proposal.document["fields"][1]["map"] == {"Shipped": "shipped"}


def test_a_file_without_a_status_ships_what_it_names_and_says_so():
    """
    A list of tracking numbers is a status file too.
    """
    proposal = infer(b"Order No,Tracking Number\nA1,AB123456789GB\n", "status")
    assert "there is no status: every row is taken for shipped" in proposal.decisions
    [record], _ = proposal.layout.read(b"Order No,Tracking Number\nA1,AB123456789GB\n")
    assert record.value.status == "shipped"


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (b"", "got nothing"),
        (b"<a/>", "got XML"),
        (b"ISA*00*", "X12: begin from x12-940"),
        (b"UNB+UNOA", "EDIFACT"),
        (b"PK\x03\x04", "zip file"),
        (b"just words\nand more\n", "expected columns between"),
        (b"Colour,Size\nred,L\n", "expected a column for"),
        (b'{"a": [1]}', "flat JSON object"),
        (b"a,b\x00\n", "NUL"),
    ],
)
def test_what_no_layout_can_be_made_of_says_why(sample, said):
    """
    What was found, and what was expected.
    """
    with pytest.raises(FormatError, match="expected") as refused:
        infer(sample, "stock")
    assert said in str(refused.value)


@given(st.binary(max_size=300) | st.text(',;\t|\n\r"' + ascii_letters[:4] + digits, max_size=300).map(str.encode))
def test_any_bytes_give_a_proposal_or_a_fault(sample):
    """
    Whatever a partner sends; a proposal loads again.
    """
    for kind in ("stock", "status", "orders"):
        try:
            proposal = infer(sample, kind)
        except FormatError:
            continue
        assert load_layout(json.loads(json.dumps(proposal.document))).hash == proposal.layout.hash
