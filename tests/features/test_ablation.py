"""docs/ablation.md follows its own rule, speaks of features that exist, and can be measured again.

A feature that was added since it was measured is not on it: `make bench-ablation` brings it there.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest
from made_logs import as_table, make_spine, shop_log

from common.duck import connect
from configs.settings import Compute, Features
from features.catalogue import GROUPS, NAMES
from features.engine import build_features, read_log
from tests.bench import ablation_page
from tests.bench.ablation_gain import Gain, draw, roc_auc, rolling_gain
from tests.bench.ablation_page import COSTS, GAINS, Row, passes

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
CANDIDATES = sorted((ROOT / "tests" / "bench" / "candidates").glob("*.sql"))
AS_OF = (date(2024, 3, 1), date(2024, 9, 1))
FIGURE = r"([+-]\d\.\d{4}) \[([+-]\d\.\d{4}), ([+-]\d\.\d{4})\]"


def table(head: str) -> dict[str, list[str]]:
    """Name -> cells of the rows of the table whose first column has this head."""
    [rows] = re.findall(rf"^\| {head} \|.*\n\|[-|]*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]
    return {re.match(r"\W*(\w+)", row[0])[1]: row for row in cells}


def gains(row: list[str]) -> list[Gain]:
    """XGBoost's and logistic regression's, in this order."""
    return [Gain(*map(float, found)) for found in re.findall(FIGURE, " | ".join(row))]


# The page


def test_its_groups_and_features_are_those_of_the_catalogue():
    counts = {name: int(row[1]) for name, row in table("group").items()}
    assert f"{sum(counts.values())} features in {len(counts)} groups" in PAGE
    today = {name: len(members) for name, members in GROUPS.items()}
    gone = {name for name, count in counts.items() if count > today.get(name, 0)}
    assert not gone, "features on the page are gone: run make bench-ablation"


def test_its_candidates_are_the_files():
    assert list(table("candidate")) == [path.stem for path in CANDIDATES]


def test_it_states_the_rule():
    words = " ".join(PAGE.split())
    assert (
        f"gains at least {GAINS} for one of the two models and costs neither more than {COSTS}"
        in (words)
    )
    count = 2 * (len(table("group")) + len(CANDIDATES))
    assert f"The {count} intervals are not corrected for their number" in words


@pytest.mark.parametrize("head", ["group", "candidate"])
def test_each_verdict_follows_from_the_figures_beside_it(head):
    verdict = {
        "group": ablation_page.verdict_of_group,
        "candidate": ablation_page.verdict_of_candidate,
    }[head]
    for name, row in table(head).items():
        both = gains(row)
        assert len(both) == 2 and all(g.low <= g.mean <= g.high for g in both), name
        assert row[-1].rstrip(" |") == verdict(Row(name, int(row[1]), *both))


# The rule


@pytest.mark.parametrize(
    ("xgboost", "logistic", "passed"),
    [
        (0.0010, 0.0, True),
        (0.0, 0.0010, True),
        (0.00096, 0.0, True),  # is printed as .0010
        (0.0009, 0.0009, False),
        (0.0050, -0.0005, True),
        (0.0050, -0.0006, False),
        (-0.0006, 0.0050, False),
    ],
)
def test_the_rule(xgboost, logistic, passed):
    assert passes(xgboost, logistic) is passed


def test_a_group_that_fails_the_rule_has_a_meaning_and_a_candidate_that_passes_a_reason():
    assert set(ablation_page.MEANING) <= set(GROUPS)
    passing = {
        name for name, row in table("candidate").items() if passes(*(g.mean for g in gains(row)))
    }
    assert passing == set(ablation_page.LEFT_OUT)


# The measurement


@pytest.fixture(scope="module")
def asked():
    """What a candidate may read, of a small log."""
    with connect(compute=Compute(threads=1)) as connection:
        connection.register("transactions", as_table(shop_log(25, 300)))
        read_log(connection, Features())
        make_spine(connection, AS_OF)
        build_features(connection)
        yield connection


@pytest.mark.parametrize("path", CANDIDATES, ids=lambda path: path.stem)
def test_a_candidate_runs_and_gives_new_columns_a_row_per_question(
    asked: duckdb.DuckDBPyConnection, path: Path
):
    frame = asked.execute(path.read_text(encoding="utf-8")).df()
    questions = {row for (row,) in asked.execute("SELECT row_id FROM asked").fetchall()}
    assert frame.columns[0] == "row_id" and frame["row_id"].is_unique
    assert set(frame["row_id"]) == questions
    added = frame.drop(columns="row_id")
    assert not set(added.columns) & set(NAMES)
    varies = [name for name in added if added[name].astype(np.float64).nunique() > 1]
    assert len(varies) >= 0.5 * len(added.columns)


def test_the_bootstrap_weighs_rows_as_if_they_were_repeated():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    y, p = rng.integers(2, size=60), rng.integers(9, size=60) / 9  # with ties
    weights = rng.integers(3, size=(5, 60))
    expected = [roc_auc_score(np.repeat(y, w), np.repeat(p, w)) for w in weights]
    assert roc_auc(y, p, weights) == pytest.approx(expected)


def test_the_interval_of_a_gain_holds_it_and_is_nothing_where_nothing_differs():
    rng = np.random.default_rng(2)
    customers = [np.array([f"c{n}" for n in range(80)]), np.array([f"c{n}" for n in range(20, 90)])]
    labels = [rng.integers(2, size=len(c)) for c in customers]
    good = [y + rng.normal(size=len(y)) for y in labels]
    chance = [rng.normal(size=len(y)) for y in labels]
    resamples = draw(customers, 200)
    found = rolling_gain(labels, good, chance, resamples)
    assert 0 < found.low < found.mean < found.high
    assert str(rolling_gain(labels, good, good, resamples)) == "+0.0000 [+0.0000, +0.0000]"
    assert (resamples[0][1:, 20:] == resamples[1][1:, :60]).all()  # one draw for both dates
