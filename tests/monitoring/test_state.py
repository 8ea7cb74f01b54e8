"""What is kept of a month: the same facts are the same bytes, and what was altered is named."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.files import RecordAltered
from monitoring import state
from monitoring.facts import Drift, Estimate, Performance, Quality, Reading, Verdict
from monitoring.state import Judged

VERDICT = Verdict("2026-04", "calendar", "nothing", "2026-04", ("because",), 3)
READINGS = [
    Reading("price", "2026-04", "ok", 0.01, 120, 0.0, 0.002, 1.5, 6.0, None, "fine"),
    Reading("invoices", "2026-04", "learning", until="2026-09"),
]


def keep(folder, *, month="2026-04", months=None):
    sha = state.write_facts(folder, "readings", month, Reading, READINGS)
    verdict = Verdict(month, "calendar", "nothing", month, (), 3)
    judged = Judged(verdict, {"months": months or {}}, {state.path_of("readings", month): sha})
    state.write_judged(folder, judged)
    return judged


def test_what_was_written_is_read_back(tmp_path):
    judged = keep(tmp_path)
    assert state.read_judged(tmp_path) == ([judged], [])
    assert state.read_facts(tmp_path, "readings", Reading, ["2026-04"]) == READINGS


def test_the_same_facts_are_the_same_bytes(tmp_path):
    one = state.write_facts(tmp_path / "a", "readings", "2026-04", Reading, READINGS)
    other = state.write_facts(tmp_path / "b", "readings", "2026-04", Reading, READINGS)
    assert one == other
    assert one != state.write_facts(tmp_path, "readings", "2026-04", Reading, READINGS[:1])


@dataclass(frozen=True)
class OneDate:
    """Some of the columns that earlier versions of the project kept of the performance."""

    as_of: str
    version: int
    official: bool
    rows: int
    positives: int
    roc_auc: float | None
    observed: float
    predicted: float
    text: str


def test_what_an_earlier_version_wrote_can_be_read(tmp_path):
    old = OneDate("2026-01-01", 3, True, 90, 40, 0.7, 0.44, 0.5, "said")
    state.write_facts(tmp_path, "performance", "2026-04", OneDate, [old])
    (found,) = state.read_facts(tmp_path, "performance", Performance, ["2026-04"])
    assert (found.as_of, found.day, found.customers) == (("2026-01-01",), "2026-01-01", None)
    assert (found.version, found.rows, found.roc_auc, found.text) == (3, 90, 0.7, "said")


def test_facts_that_the_verdict_does_not_rest_on_do_not_count(tmp_path):
    judged = keep(tmp_path)
    state.write_facts(tmp_path, "readings", "2026-05", Reading, READINGS)
    held = Judged(replace(VERDICT, month="2026-05"), {"held": "why"}, {})
    assert state.facts_of(tmp_path, [judged, held], "readings", Reading) == READINGS


@pytest.mark.parametrize("of", [Reading, Performance, Estimate, Drift, Quality])
def test_facts_of_every_kind_can_be_empty_and_tuples_are_read_as_such(tmp_path, of):
    quality = Quality("2026-04", 10, 3, "accepted", ("duplicate 2", "missing_customer 1"))
    for facts in [[], [quality]] if of is Quality else [[]]:
        state.write_facts(tmp_path, "some", "2026-04", of, facts)
        assert state.read_facts(tmp_path, "some", of, ["2026-04"]) == facts


def test_months_come_in_their_order(tmp_path):
    for month in ("2026-10", "2025-12", "2026-02"):
        keep(tmp_path, month=month)
    found = [one.verdict.month for one in state.read_judged(tmp_path)[0]]
    assert found == ["2025-12", "2026-02", "2026-10"]


@pytest.mark.parametrize(
    ("damage", "month", "text"),
    [
        ("worse", "2026-04", "month=2026-04.json was altered"),
        ("month=2026-05.json", "2026-05", "it is the verdict of 2026-04"),
        ("month=2026-13.json", None, "month=2026-13.json"),
        ("month=soon.json", None, "month=soon.json"),
    ],
)
def test_an_altered_verdict_or_one_under_another_name_is_named_and_left_out(
    tmp_path, damage, month, text
):
    keep(tmp_path)
    file = tmp_path / "verdicts" / "month=2026-04.json"
    if damage == "worse":
        content = json.loads(file.read_text())
        content["verdict"]["verdict"] = "worse"
        file.write_text(json.dumps(content))
    else:
        file.rename(file.with_name(damage))
    found, (altered,) = state.read_judged(tmp_path)
    assert (found, altered.month) == ([], month) and text in f"{altered.file} {altered.text}"


def test_an_altered_fact_is_named_and_its_month_left_out(tmp_path):
    keep(tmp_path)
    keep(tmp_path, month="2026-05")
    file = tmp_path / state.path_of("readings", "2026-04")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    found, (altered,) = state.read_judged(tmp_path)
    assert [one.verdict.month for one in found] == ["2026-05"] and altered.month == "2026-04"
    assert "facts/readings/month=2026-04.parquet is not what the verdict" in altered.text


def test_months_whose_rows_changed_are_named(tmp_path):
    judged = [
        keep(tmp_path, month="2026-04", months={"2026-03": "a", "2026-04": "b"}),
        keep(tmp_path, month="2026-05", months={"2026-03": "a", "2026-04": "b", "2026-05": "c"}),
    ]
    now = {"2026-03": "a", "2026-04": "B", "2026-05": "c", "2026-06": "new"}
    assert state.changed_months(judged, now) == ["2026-04"]
    assert state.changed_months(judged, {**now, "2026-04": "b"}) == []
    del now["2026-03"]
    assert state.changed_months(judged, {**now, "2026-04": "b"}) == ["2026-03"], "it is gone"


def test_a_baseline_judges_from_its_first_month_on_and_is_refused_when_it_was_altered(tmp_path):
    for version, since in ((1, "2026-04"), (2, "2026-09")):
        state.write_baseline(tmp_path, {"version": version, "since": since, "sensors": {}})
    found = state.baselines(tmp_path)
    chosen = [state.baseline_for(found, month) for month in ("2026-03", "2026-04", "2026-09")]
    assert [one and one["version"] for one in chosen] == [None, 1, 2]
    file = tmp_path / "baseline" / "v1.json"
    file.write_text(file.read_text().replace("2026-04", "2026-03"))
    with pytest.raises(RecordAltered, match=r"v1\.json"):
        state.baselines(tmp_path)


numbers = st.none() | st.floats(allow_nan=False)
texts = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Reading,
        sensor=texts,
        month=st.just("2026-04"),
        state=st.sampled_from(["ok", "alarm", "learning"]),
        value=numbers,
        n=st.integers(0, 2**40),
        z=numbers,
        until=st.none() | texts,
        text=texts,
    )
)
def test_any_reading_is_read_back_as_it_was(tmp_path_factory, reading):
    folder = tmp_path_factory.mktemp("facts")
    state.write_facts(folder, "readings", "2026-04", Reading, [reading])
    (found,) = state.read_facts(folder, "readings", Reading, ["2026-04"])
    assert asdict(found) == asdict(reading)
