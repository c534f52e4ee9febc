"""The list of faults in docs/reliability.md and the tests that are marked with its rows are the same."""

import ast
import os
import subprocess
import sys

import pytest

from segapp.home import PROJECT
from segapp.tests.faults import Faults, listed

TESTS = PROJECT / "segapp" / "tests"
TRIED = """
import pytest

@pytest.mark.fault(1)
@pytest.mark.parametrize("number", range(3))
def test_of_files(number):
    pass

@pytest.mark.fault(30, 31)
def test_of_models():
    assert False

@pytest.fixture
def broken_end():
    yield
    raise OSError

@pytest.mark.fault(40)
def test_whose_end_fails(broken_end):
    pass

@pytest.mark.fault(50)
def test_without_its_device():
    pytest.skip("no such device")

def test_of_something_else():
    pass
"""


def marked() -> dict[tuple[str, str], set[int]]:
    """(file, function) -> rows, of every test that is marked; files as docs/reliability.md writes them."""
    found: dict[tuple[str, str], set[int]] = {}
    for folder, root in ((TESTS, TESTS), (PROJECT / "registry" / "tests", PROJECT)):
        for path in folder.rglob("test_*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef):
                    rows = {row for mark in node.decorator_list for row in rows_in(mark)}
                    if rows:
                        found[path.relative_to(root).as_posix(), node.name] = rows
    return found


def rows_in(decorator: ast.expr) -> list[int]:
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
        return [ast.literal_eval(argument) for argument in decorator.args]
    return []


def test_each_row_names_the_tests_that_are_marked_with_it():
    tests = marked()
    for row, fault in listed().items():
        assert fault.tests, f"no test of row {row}"
        assert fault.tests == {test for test, rows in tests.items() if row in rows}, f"row {row}"
    assert {row for rows in tests.values() for row in rows} == set(listed()), "a mark of a row that is not listed"


def test_the_list_has_its_rows():
    assert set(listed()) >= {*range(1, 26), *range(30, 56)}


@pytest.mark.parametrize("options", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)])
def test_the_table_counts_tries_survived_and_lost(tmp_path, options):
    path = tmp_path / "test_tried.py"
    path.write_text(TRIED)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    fault: rows\n")
    plain = ["-c", str(tmp_path / "pytest.ini"), "-p", "no:cacheprovider", "-p", "no:django"]
    environment = {name: value for name, value in os.environ.items() if name != "SEGAPP_TEST_PROGRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plain, "-p", "segapp.tests.faults", *options, str(path)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.partition("tries  survived  lost\n")[2].partition("faults tried")[0].splitlines()
    counts = {row[0]: row[-3:] for row in map(str.split, lines) if len(row) > 3}
    assert counts["1"] == ["3", "3", "0"], done.stdout
    assert counts["30"] == counts["31"] == counts["40"] == ["1", "0", "1"]
    assert counts["50"] == ["0", "0", "0"]
    assert f"4 of {len(listed())} faults tried" in done.stdout


def test_rows_that_no_test_tried_are_named():
    faults = Faults()
    faults.count("one", "passed", [row for row in listed() if row not in (30, 41)])
    faults.count("other", "skipped", [30])
    assert faults.untried() == [30, 41]
