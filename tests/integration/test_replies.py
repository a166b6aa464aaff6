"""What a partner is told of a file that it left: an acknowledgement, or the rows that were not taken."""

import csv
import io
import json
from importlib.resources import files

import pytest
from attrs import evolve

from fcflow.errors import TransportError
from fcflow.formats import load_layout
from fcflow.model import Reply
from fcflow.testing.partners import LAYOUTS, SimulatedPartner, World


def world(kind, layout="simulated-stock"):
    mine = SimulatedPartner("leeds").partner().stock
    feed = evolve(mine, layout=layout, reply=Reply(kind=kind, path="replies", name="re-{counter}.txt"))
    made = World("leeds", changes={"leeds": {"stock": feed}})
    layouts = {**LAYOUTS, layout: LAYOUTS.get(layout) or load_layout(layout)}
    made.sync._context = evolve(made.sync._context, layout_of=lambda feed: layouts[feed.layout])
    return made


def replies(made):
    return made.partners["leeds"].server.files("replies")


def test_the_rows_that_were_not_taken_are_sent_back_as_they_came_with_what_is_wrong():
    """
    Good rows are not; a partner mends the file and leaves it again.
    """
    with world("errors") as made:
        leeds = made.partners["leeds"]
        leeds.put("stock/1.csv", b"sku;quantity\r\nMUG;5\r\nCUP;two\r\n;3\r\n")
        assert made.sync.receive_stock().partners["leeds"].replies == 1
        [content] = replies(made).values()
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig")), delimiter=";"))
        assert [(row["sku"], row["quantity"]) for row in rows] == [("CUP", "two"), ("", "3")]
        assert "line 3" in rows[0]["fcflow_problem"]
        assert [event.message for event in made.sync.audit() if event.type == "REPLIED"] == [
            "1.csv: errors in re-1.txt"
        ]
        mended = content.replace(b"two", b"2").replace(b";3;", b"HAT;3;")
        leeds.put("stock/2.csv", mended)
        report = made.sync.receive_stock().partners["leeds"]
        assert (report.stock_levels, report.problems) == (2, [])


def test_a_file_without_a_fault_is_not_answered_with_errors():
    """
    Nor is it a second time.
    """
    with world("errors") as made:
        made.partners["leeds"].stock({"MUG": 5})
        made.sync.receive_stock()
        made.sync.receive_stock()
        assert replies(made) == {}


def test_what_came_in_is_acknowledged_once_under_a_number_of_its_own():
    """
    The envelope's control number is the one that the next delivery does not use.
    """
    vectors = json.loads(files("fcflow.testing").joinpath("vectors/layouts/edi.json").read_text(encoding="utf-8"))
    payload = next(each["payload"] for each in vectors if each["layout"] == "x12-846" and "records" in each)
    with world("acknowledgement", "x12-846") as made:
        made.partners["leeds"].put("stock/1.x12", payload.encode())
        made.sync.receive_stock()
        made.sync.receive_stock()
        [(name, content)] = replies(made).items()
        assert name == "re-1.txt"
        assert b"ST*997*0001~" in content
        assert b"AK9*A*1*1*1~" in content
        assert b"IEA*1*000000001~" in content


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reply_that_could_not_be_sent_is_sent_by_the_next_run_as_the_same_file(when):
    """
    What came in is applied all the same; where the answer was lost, a look tells whether the partner has it.
    """
    with world("errors") as made:
        leeds = made.partners["leeds"]
        leeds.put("stock/1.csv", b"sku;quantity\r\nMUG;5\r\nCUP;two\r\n")
        leeds.server.fail("rename", nth=2, when=when, error=TransportError("connection reset"))
        first = made.sync.receive_stock().partners["leeds"]
        second = made.sync.receive_stock().partners["leeds"]
        arrived = when == "after"
        assert (first.stock_levels, first.replies, second.replies) == (1, int(arrived), int(not arrived))
        assert any("put off" in said for said in first.problems) is not arrived
        assert list(replies(made)) == ["re-1.txt"]


def test_a_file_that_cannot_be_read_at_all_is_answered_with_what_was_wrong():
    """
    There are no rows to send back, so the words are.
    """
    with world("errors") as made:
        made.partners["leeds"].put("stock/1.csv", b"<html>502</html>")
        made.sync.receive_stock()
        [content] = replies(made).values()
        assert content.decode("utf-8-sig").startswith("line;column;field;found;expected;message")
        [sighting] = made.sync.received(state="refused")
        assert made.sync.received_errors(sighting.sighting_id) == content
