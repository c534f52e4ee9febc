"""`manage.py bench load`: its options, its table, and the whole of it on a small scale with real processes."""

import json
import os
import subprocess
import sys

import pytest

from segapp.bench import load_server, run_load
from segapp.bench.run_load import Options, table
from segapp.home import PROJECT

GIVEN = {"sets": [], "database": "", "redis": "", "visitors": 3, "models": 1, "seconds": 1.0, "minutes": 1.0}
LEVEL = {
    "visitors": 4,
    "requests_per_second": 5.0,
    "page_p50_ms": 10.0,
    "page_p95_ms": 20.4,
    "analyze_p50_ms": 400.0,
    "analyze_p95_ms": None,
    "refused": 1,
    "errors": 2,
    "errors_by_kind": {"500 GET files": 2},
    "held": False,
    "cores": {"web": 0.1, "predict": 0.5, "train": 0.0, "redis": 0.0, "bench": 0.01, "other": 0.3},
}


@pytest.mark.parametrize("options", [{"most": 0}, {"most": 401}, {"models": -1}, {"seconds": 0}, {"minutes": 0}])
def test_options_that_do_not_fit_are_refused_in_words(options):
    with pytest.raises(ValueError, match="are"):
        Options(**options).check()


def test_what_cannot_be_measured_is_refused_before_a_server_is_started(tmp_path):
    with pytest.raises(ValueError, match="Name both"):
        run_load.run({**GIVEN, "redis": "redis://127.0.0.1:1/0"}, print)
    with pytest.raises(ValueError, match="There is no image"):
        run_load.run({**GIVEN, "sets": [tmp_path]}, print)


def test_the_table_has_a_line_for_each_number_and_the_largest_held():
    found = {"setup": "apart", "database": "PostgreSQL, Redis", "base": "lite0", "cores": 2, "load_before": 0.3}
    rows = [LEVEL, {**LEVEL, "visitors": 8, "held": True, "errors": 0, "errors_by_kind": {}}]
    lines = table(
        {**found, "minutes": 1.0, "trainings_ended": 2, "levels": rows, "held": 0, "complete": False}
    ).splitlines()
    assert lines[2].split()[:6] == ["4", "5.0", "10", "ms", "20", "ms"] and lines[2].endswith("not held")
    assert lines[3].strip() == "2 x 500 GET files" and not lines[4].endswith("not held")
    assert lines[5].startswith("held: 0 visitors") and "the time was over" in lines[5] and "(2 ended)" in lines[0]


def test_what_other_programs_took_is_what_is_left_of_the_machine():
    assert load_server.cores({"web": 0.5, "bench": 0.25, "machine": 1.0}) == {"web": 0.5, "bench": 0.25, "other": 0.25}


def test_no_two_photos_in_a_row_are_the_same(monkeypatch):
    monkeypatch.setattr(load_server, "PHOTOS", 9)
    photo = load_server.photos([])
    sent = [photo() for _ in range(18)]
    assert len(set(sent[:9])) == 9 and sent[:9] == sent[9:]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_visitors_open_pages_and_analyze_photos_beside_a_training(tmp_path):
    command = [sys.executable, str(PROJECT / "manage.py"), "bench", "load", "--visitors", "3", "--models", "2"]
    environment = {**os.environ, "SEGAPP_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [*command, "--seconds", "6", "--training", "--json"],
        env=environment, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (row,) = found["levels"]
    assert row["visitors"] == 3 and row["pages"] > 0 and row["analyzes"] > 0
    assert (row["refused"], row["errors"]) == (0, 0)
    assert row["page_p50_ms"] <= row["page_p95_ms"] and row["analyze_p50_ms"] <= row["analyze_p95_ms"]
    assert min(row["cores"][part] for part in ("web", "predict", "train")) > 0
    assert found["held"] == (3 if row["held"] else 0) and found["complete"]
    assert not list((tmp_path / "home" / "media").glob("models/*")), "nothing of the installation is touched"
