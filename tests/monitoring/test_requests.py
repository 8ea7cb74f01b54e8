"""The log of requests as a source of monitoring: what it says, and what it does not hide."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitoring.facts import FeatureShares
from monitoring.request_files import merge_days
from monitoring.requests import deciles, read_requests
from tests.monitoring.made_logs import MODEL, write_requests
from tests.monitoring.made_scores import write_scores

FIRST, DAY = date(2026, 3, 1), timedelta(days=1)
FEBRUARY = (date(2026, 2, 1), FIRST)
UNTIL = date(2026, 4, 1)
RNG = np.random.default_rng(11)


def test_answers_days_customers_and_versions_are_counted(tmp_path):
    names = ["ada", "bob", None] * 50
    write_requests(tmp_path, FIRST, [0.2] * 150, customers=names)
    write_requests(tmp_path, FIRST + DAY, [0.4] * 60, customers=["eve"] * 60, version=2, new=False)
    write_requests(tmp_path, FIRST + DAY, [0.9] * 70, model="golden-path-other", name="other")
    write_requests(tmp_path, FIRST - DAY, [0.9] * 70)
    write_requests(tmp_path, UNTIL, [0.9] * 70)
    found = read_requests(tmp_path, MODEL, FIRST, UNTIL)
    assert (found.state, found.rows, found.days, found.customers) == ("ok", 210, 2, 3)
    assert found.requests == 150, "the file of an earlier version of the project numbers none"
    assert found.versions == ((3, 150), (2, 60))
    assert (found.version, found.mean) == (3, pytest.approx(0.2))
    assert found.psi is None and found.deciles == () and found.left_out == ()
    said = "210 answers on 2 days (version 3: 150, version 2: 60); mean probability of version 3"
    assert found.text == f"{said} 0.200."


def test_missing_and_unseen_values_are_shares_of_the_files_that_have_the_feature(tmp_path):
    schema = [
        {"name": "gap", "categories": []},
        {"name": "country", "categories": ["France", "Spain"]},
        {"name": "new", "categories": []},
        {"name": "never", "categories": []},
    ]
    gap = [None] * 30 + [1.0] * 70
    country = [0.0] * 50 + [2.0] * 40 + [None] * 10  # 2: the code after the last
    write_requests(tmp_path, FIRST, [0.5] * 100, features={"gap": gap, "country": country})
    # A later champion: other features, in another order.
    both = {"new": [None] * 100, "gap": [2.0] * 100}
    write_requests(tmp_path, FIRST, [0.5] * 100, features=both, version=4, name="later")
    found = read_requests(tmp_path, MODEL, FIRST, UNTIL, features=schema)
    assert found.features == (
        FeatureShares("gap", 0.15),
        FeatureShares("country", 0.1, 0.4),
        FeatureShares("new", 1.0),
    )


def test_shares_stand_beside_those_of_the_period_before_where_it_has_enough_rows(tmp_path):
    schema = [{"name": "gap", "categories": []}, {"name": "country", "categories": ["France"]}]
    now = {"gap": [None] * 60 + [1.0] * 140, "country": [0.0] * 180 + [1.0] * 20}
    before = {"gap": [None] * 20 + [1.0] * 180, "country": [0.0] * 200}
    write_requests(tmp_path, FIRST, [0.5] * 200, features=now)
    write_requests(tmp_path, FIRST - DAY, [0.5] * 200, features=before)
    earlier = (FIRST - 3 * DAY, FIRST)
    gap, country = read_requests(
        tmp_path, MODEL, FIRST, UNTIL, features=schema, earlier=earlier
    ).features
    assert gap == FeatureShares("gap", 0.3, None, 0.1, None)
    assert country == FeatureShares("country", 0.0, 0.1, 0.0, 0.0)
    assert (gap.moved, country.moved) == (pytest.approx(0.2), pytest.approx(0.1))
    few = (FIRST - 3 * DAY, FIRST - DAY)
    write_requests(tmp_path, FIRST - 2 * DAY, [0.5] * 99, features={"gap": [None] * 99})
    found = read_requests(tmp_path, MODEL, FIRST, UNTIL, features=schema, earlier=few)
    assert [one.missing_before for one in found.features] == [None, None]
    assert [one.moved for one in found.features] == [0.0, 0.0]


def test_scores_are_compared_with_batch_scores_of_the_version_that_answered_most(tmp_path):
    def batch(a: float, b: float, count: int = 4000, version: int = 3):
        target = tmp_path / f"{a} {count} {version}" / "part.parquet"
        names, p = [f"c{row}" for row in range(count)], RNG.beta(a, b, count)
        return write_scores(target, names, p, as_of=FIRST, version=version)

    def read(*scores, **others):
        return read_requests(tmp_path / "log", MODEL, FIRST, UNTIL, scores=scores, **others)

    write_requests(tmp_path / "log", FIRST, list(RNG.beta(2, 5, 4000)))
    same, other = batch(2, 5), batch(5, 2, version=2)
    found = read(same)
    assert found.beside == "batch scores" and found.psi < 0.02
    assert found.mean == pytest.approx(found.mean_beside, abs=0.02)
    assert len(found.deciles) == 10 and sum(found.deciles) == pytest.approx(1)
    assert found.deciles == pytest.approx([0.1] * 10, abs=0.03)
    assert "PSI 0.0" in found.text
    unlike = read(other)
    assert unlike.psi is None and "0 by this version" in unlike.text
    assert read(same, other).psi == pytest.approx(found.psi)

    # Where batch scores are too few, or there are none, a period of the log takes their place.
    write_requests(tmp_path / "log", FEBRUARY[0], list(RNG.beta(4, 3, 2000)))
    for scores in ([], [batch(2, 5, count=99)]):
        found = read(*scores, earlier=FEBRUARY)
        assert (found.beside, found.rows) == ("2026-02-01 to 2026-02-28", 4000)
        assert found.psi > 0.5 and found.deciles[0] > 0.3
    assert read(same, earlier=FEBRUARY).beside == "batch scores"


def test_too_few_requests_or_none_are_reported_as_such(tmp_path):
    none = read_requests(tmp_path / "nothing", MODEL, FIRST, UNTIL)
    assert (none.state, none.rows) == ("none", 0) and "had no request" in none.text
    write_requests(tmp_path, FIRST, [0.5] * 7)
    few = read_requests(tmp_path, MODEL, FIRST, UNTIL, earlier=(FIRST, UNTIL))
    assert (few.state, few.rows, few.psi) == ("too_few", 7, None)
    assert "too few" in few.text and "on 1 day (" in few.text


def test_damaged_and_unfinished_files_are_named_and_the_others_are_read(tmp_path):
    for number in range(5):
        write_requests(tmp_path, FIRST, [0.5] * 100, name=f"good{number}")
    written = write_requests(tmp_path, FIRST, [0.5] * 100, name="late")
    written.rename(written.with_name(f".{written.name}.unfinished"))
    cut = write_requests(tmp_path, FIRST, [0.5] * 100, name="cut")
    cut.write_bytes(cut.read_bytes()[:-50])
    altered = write_requests(tmp_path, FIRST, list(RNG.random(5000)), name="altered")
    content = bytearray(altered.read_bytes())
    content[200:4000] = bytes(3800)  # its pages, not its footer
    altered.write_bytes(content)
    (tmp_path / f"date={FIRST}" / "empty.parquet").touch()
    (tmp_path / f"date={FIRST}" / "notes.txt").write_text("not a part of the log")
    (tmp_path / "date=2026-02-31").mkdir()
    schema = [{"name": "recency_days", "categories": []}]
    for features in ((), schema):
        found = read_requests(tmp_path, MODEL, FIRST, UNTIL, features=features)
        assert found.rows == 500
        named = sorted(one.partition(": ")[0].partition("/")[2] for one in found.left_out)
        wanted = [".late.parquet.unfinished", "altered.parquet", "cut.parquet", "empty.parquet"]
        assert named == wanted
        assert any("still being written" in one for one in found.left_out)
    assert found.features == (FeatureShares("recency_days", 0.0),)


def test_the_files_of_a_past_day_are_merged_without_changing_the_figures(tmp_path):
    for day in (FIRST, FIRST + DAY):
        for number in range(7):
            write_requests(tmp_path, day, list(RNG.random(30)), name=f"part{number}")
    before = read_requests(tmp_path, MODEL, FIRST, UNTIL)
    merge_days(tmp_path, FIRST + DAY)
    assert [len(list((tmp_path / f"date={day}").iterdir())) for day in (FIRST, FIRST + DAY)] == [
        1,
        7,
    ]
    assert read_requests(tmp_path, MODEL, FIRST, UNTIL) == before
    # A command that was killed before it had removed all of those that it had merged.
    write_requests(tmp_path, FIRST, [0.5] * 30, name="part6")
    assert read_requests(tmp_path, MODEL, FIRST, UNTIL) == before
    merge_days(tmp_path, UNTIL)
    assert [path.name for path in sorted(tmp_path.glob("*/*"))] == ["day.parquet"] * 2
    assert read_requests(tmp_path, MODEL, FIRST, UNTIL) == before


def test_merging_keeps_damaged_files_and_other_columns_and_adds_later_files(tmp_path):
    for number in range(3):
        write_requests(tmp_path, FIRST, [0.5] * 30, name=f"good{number}")
    cut = write_requests(tmp_path, FIRST, [0.5] * 30, name="late")
    cut.write_bytes(cut.read_bytes()[:-50])
    write_requests(tmp_path, FIRST, [0.5] * 20, name="other", features={"gap": [1.0] * 20})
    for _ in range(2):
        merge_days(tmp_path, UNTIL)
        names = [path.name for path in sorted(tmp_path.glob("*/*"))]
        assert names == ["day.parquet", "late.parquet", "other.parquet"]
        found = read_requests(tmp_path, MODEL, FIRST, UNTIL)
        assert found.rows == 110 and len(found.left_out) == 1
    write_requests(tmp_path, FIRST, [0.5] * 40, name="of another host")  # brought here later
    assert read_requests(tmp_path, MODEL, FIRST, UNTIL).rows == 150
    merge_days(tmp_path, UNTIL)
    assert len(list(tmp_path.glob("*/*"))) == 3
    assert read_requests(tmp_path, MODEL, FIRST, UNTIL).rows == 150


SCORES = arrays(np.float64, st.integers(1, 50), elements=st.floats(0, 1))


@settings(max_examples=40, deadline=None)
@given(SCORES, SCORES)
def test_deciles_add_up_to_one_for_any_scores(now, before):
    shares = deciles(now, before)
    assert len(shares) == 10 and sum(shares) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in shares)
