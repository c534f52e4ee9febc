"""`manage.py bench decode` on images that take no time."""

import pytest

from segapp.bench import run_decode


@pytest.mark.slow
def test_both_ways_are_measured_and_shown(monkeypatch):
    monkeypatch.setattr(run_decode, "CASES", (("PNG", 32, 24), ("JPEG", 32, 24)))
    result = run_decode.run({"requests": 4}, lambda _: None)
    assert [(row["image"], row["requests"]) for row in result["rows"]] == [("PNG 32 x 24", 4), ("JPEG 32 x 24", 4)]
    for row in result["rows"]:
        assert 0 < row["plain_p50_ms"] <= row["plain_p95_ms"] and 0 < row["confined_p50_ms"] <= row["confined_p95_ms"]
        assert row["added_ms"] == pytest.approx(row["confined_p50_ms"] - row["plain_p50_ms"], abs=0.011)
    assert "PNG 32 x 24" in run_decode.table(result)
