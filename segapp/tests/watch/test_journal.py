"""The journal: what survives a process that dies at any byte."""

from pathlib import Path

import pytest

from segapp.worker.arrivals import Arrival, Identity
from segapp.worker.watch_journal import BEGUN, DONE, FAILED, LEFT, DamagedJournal, Journal, WatchedAlready


def arrival(name: str, size: int = 1) -> Arrival:
    return Arrival(Path("in", name), name, Identity(size, 7))


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / ".watch")
    yield journal
    journal.close()


def reopened(journal: Journal) -> Journal:
    journal.close()
    return Journal(journal.path.parent)


def test_what_is_done_stays_done_until_the_file_changes(journal):
    journal.write(DONE, arrival("a.png"), mask="masks/a.png")
    again = reopened(journal)
    assert not again.is_new("a.png", Identity(1, 7)) and again.is_done("a.png")
    assert again.is_new("a.png", Identity(2, 7)) and again.is_new("b.png", Identity(1, 7))
    again.close()


def test_a_line_that_was_not_finished_does_not_count(journal):
    journal.write(DONE, arrival("a.png"))
    journal.write(DONE, arrival("b.png"))
    whole = journal.path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole)):
        journal.close()
        journal.path.write_bytes(whole[:end])
        journal = Journal(journal.path.parent)
        assert not journal.is_new("a.png", Identity(1, 7)) and journal.is_new("b.png", Identity(1, 7))
        assert journal.path.read_bytes() == whole[:first]
    journal.write(DONE, arrival("b.png"))
    assert [line["file"] for line in journal.lines()] == ["a.png", "b.png"]


def test_attempts_count_over_restarts_and_an_end_on_request_does_not(journal):
    journal.write(BEGUN, arrival("a.png"))
    journal.write(BEGUN, arrival("a.png"))
    journal.write(LEFT, arrival("a.png"))
    again = reopened(journal)
    assert again.attempts(arrival("a.png")) == 1 and again.attempts(arrival("a.png", 2)) == 0
    again.write(FAILED, arrival("a.png"), problem="x")
    assert again.attempts(arrival("a.png")) == 0
    assert again.is_new("a.png", Identity(1, 7)), "it was moved away, so what is there was put back"
    again.write(FAILED, arrival("a.png"), problem="x", stays=True)
    assert not again.is_new("a.png", Identity(1, 7))
    again.close()


def test_results_of_alike_names_do_not_meet(journal):
    names = ["a.png", "a.tif", "A.PNG", "run/a.png", "a.jpg", "con.png"]
    stems = [journal.stem(name) for name in names]
    assert stems == ["a", "a_tif", "A_png", "run/a", "a_jpg", "_con"]
    for name in names:
        journal.write(DONE, arrival(name))
    again = reopened(journal)
    assert [again.stem(name) for name in reversed(names)] == stems[::-1]
    again.close()


def test_names_that_are_no_text_are_kept(journal):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    journal.write(DONE, arrival(name))
    again = reopened(journal)
    assert not again.is_new(name, Identity(1, 7)) and again.stem(name) == "caf_"
    again.close()


def test_one_folder_has_one_writer(journal):
    with pytest.raises(WatchedAlready, match="Stop it first"):
        Journal(journal.path.parent)


def test_a_line_that_is_no_json_is_named(journal):
    journal.write(DONE, arrival("a.png"))
    journal.close()
    journal.path.write_bytes(b"garbage\n" + journal.path.read_bytes())
    with pytest.raises(DamagedJournal, match="line 1 cannot be read"):
        Journal(journal.path.parent)
