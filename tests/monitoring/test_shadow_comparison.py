"""A challenger in shadow beside the champion: agreement, ranks, seconds, labels, harm."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import log_loss, roc_auc_score

from common.customer_hash import hashed
from configs.settings import Features, Gate
from features.build import build_table
from monitoring.facts import ShadowComparison
from monitoring.shadow import Purchases, compare_shadow, harm, paired
from tests.features.made_logs import shop_log, write
from tests.monitoring.made_logs import MODEL, write_shadow

FIRST, DAY = date(2026, 3, 1), timedelta(days=1)
RNG = np.random.default_rng(5)
KEY = b"k" * 32
GATE = Gate(shadow_days=14)


def compare(folder, **others) -> ShadowComparison:
    return compare_shadow(folder, MODEL, 3, 4, **others)


def test_pairs_are_compared_day_by_day_and_nothing_else_is_counted(tmp_path):
    champion = RNG.beta(2, 5, 900)
    challenger = np.clip(champion + RNG.normal(0.02, 0.05, 900), 0, 1)
    for number in range(3):
        part = slice(300 * number, 300 * number + 300)
        write_shadow(tmp_path, FIRST + number * DAY, champion[part], challenger[part])
    write_shadow(tmp_path, FIRST, [0.9] * 9, [0.1] * 9, versions=(2, 4), name="champion-before")
    write_shadow(tmp_path, FIRST, [0.9] * 9, [0.1] * 9, versions=(3, 5), name="other-challenger")
    write_shadow(tmp_path, FIRST, [0.9] * 9, [0.1] * 9, model="other", name="other-preset")
    found = compare(tmp_path)
    assert (found.state, found.days, found.rows, found.no_answer) == ("ok", 3, 900, 0)
    assert (found.first, found.last) == ("2026-03-01", "2026-03-03")
    assert found.agreement == pytest.approx(np.mean((champion >= 0.5) == (challenger >= 0.5)))
    assert found.rank_correlation == pytest.approx(spearmanr(champion, challenger).statistic)
    assert found.shift == pytest.approx(np.mean(challenger - champion))
    assert found.text.startswith(
        "Version 4 in shadow of version 3: 900 rows on 3 days (2026-03-01 to 2026-03-03); "
    )
    assert harm(found, GATE) == ()
    within = compare(tmp_path, since=FIRST + DAY, until=FIRST + 2 * DAY)
    assert (within.days, within.rows) == (1, 300)


def test_ties_have_the_mean_of_their_ranks_and_a_constant_no_correlation(tmp_path):
    champion, challenger = RNG.integers(4, size=200) / 4, RNG.integers(3, size=200) / 3
    write_shadow(tmp_path / "ties", FIRST, champion, challenger)
    found = compare(tmp_path / "ties")
    assert found.rank_correlation == pytest.approx(spearmanr(champion, challenger).statistic)
    write_shadow(tmp_path / "same", FIRST, champion, [0.5] * 200)
    assert compare(tmp_path / "same").rank_correlation is None


P, OTHER = RNG.random(400), RNG.random(400)
HARM = {
    "decisions that agree": (P, P, {}, {}, ""),
    "decisions that differ": (P, 1 - P, {}, {}, "the agreement of the two decisions is 0.0"),
    "a difference that is allowed": (P, 1 - P, {}, {"shadow_agreement": -1}, ""),
    "without costs, the same rankings": (P, P, {"threshold": None}, {}, ""),
    "without costs, other rankings": (
        *(P, OTHER, {"threshold": None}, {}),
        r"rankings \(Spearman\).*gate.shadow_agreement",
    ),
    "calls that are fast enough": (P, P, {"seconds": (1e-3, 4e-3)}, {"max_latency_ms": 5}, ""),
    "calls that are too slow": (
        *(P, P, {"seconds": (1e-3, 4e-3)}, {"max_latency_ms": 3}),
        "4.00 ms.*gate.max_latency_ms",
    ),
    "rows without an answer": (
        *(P, [None] * 200 + list(P[200:]), {}, {}),
        "no probability for 200 of 400 rows",
    ),
}


@pytest.mark.parametrize(
    ("champion", "challenger", "log", "limits", "said"), HARM.values(), ids=HARM
)
def test_harm_by_a_challenger_is_named_with_its_setting(
    tmp_path, champion, challenger, log, limits, said
):
    write_shadow(tmp_path, FIRST, champion, challenger, **log)
    found = compare(tmp_path)
    assert (found.agreement is None) == ("threshold" in log)
    reasons = harm(found, Gate(shadow_days=14, **limits))
    assert [bool(re.search(said, one)) for one in reasons] == ([True] if said else [])


def test_too_few_rows_or_none_are_reported_as_such(tmp_path):
    none = compare(tmp_path / "nothing")
    assert (none.state, none.rows, none.days) == ("none", 0, 0)
    assert none.text == "Version 4 in shadow of version 3 has not scored a row yet."
    write_shadow(tmp_path, FIRST, [0.9] * 20, [0.1] * 20)
    few = compare(tmp_path)
    assert (few.state, few.rows, few.agreement) == ("too_few", 20, None)
    assert "too few to compare" in few.text and harm(few, GATE) == ()


def test_seconds_are_compared_where_both_had_calls_of_as_many_rows(tmp_path):
    p = RNG.random(300)
    write_shadow(tmp_path, FIRST, p, p, seconds=(1e-3, 4e-3), call_rows=[1] * 150 + [500] * 150)
    found = compare(tmp_path)
    assert found.timed_calls == 150
    assert (found.champion_p99_ms, found.challenger_p99_ms) == (1.0, 4.0)
    assert (found.champion_median_ms, found.challenger_median_ms) == (1.0, 4.0)
    write_shadow(tmp_path / "few", FIRST, p, p, call_rows=[500] * 290 + [1] * 10)
    assert compare(tmp_path / "few").challenger_p99_ms is None
    cut = write_shadow(tmp_path, FIRST, p, p, name="cut")
    cut.write_bytes(cut.read_bytes()[:-50])
    found = compare(tmp_path)
    assert found.rows == 300
    assert len(found.left_out) == 1 and "date=2026-03-01/cut.parquet" in found.left_out[0]


# --- labels -------------------------------------------------------------------------------------

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A log, its training table, and a shadow's log of all its customers at each as-of date."""
    folder = tmp_path_factory.mktemp("shop")
    log, target = write(shop_log(120, 300), folder / "log.parquet"), folder / "table.parquet"
    build_table(log, target, QUESTION)
    table = pq.read_table(target).to_pandas()
    draw = np.random.default_rng(3)
    table["champion"] = np.clip(0.5 * table["label"] + 0.5 * draw.random(len(table)), 0, 1)
    table["challenger"] = draw.random(len(table))
    table["day"] = [day.date() if hasattr(day, "date") else day for day in table["as_of"]]
    for day, rows in table.groupby("day"):
        write_shadow(
            folder / "shadow",
            day,
            list(rows["champion"]),
            list(rows["challenger"]),
            customers=[hashed(KEY, name) for name in rows["customer_id"]],
            as_of=[day] * len(rows),
        )
    return folder, log, table


def test_the_labels_are_those_of_training_and_a_worse_challenger_does_harm(shop):
    folder, log, table = shop
    bought = Purchases(log, QUESTION, KEY, known_until=date.max)
    found = compare(folder / "shadow", purchases=bought)
    label = table["label"].to_numpy()
    assert (found.labelled, found.positives) == (len(table), label.sum())
    ours, theirs = (table[name].to_numpy() for name in ("challenger", "champion"))
    assert found.roc_auc == pytest.approx(roc_auc_score(label, ours) - roc_auc_score(label, theirs))
    assert found.log_loss == pytest.approx(
        log_loss(label, ours) - log_loss(label, theirs), abs=1e-4
    )
    reasons = harm(found, Gate(shadow_agreement=-1))
    assert len(reasons) == 2 and "ROC AUC is significantly lower" in reasons[0]
    assert "have labels: ROC AUC -" in found.text


def test_rows_whose_window_is_not_over_have_no_label(shop):
    folder, log, table = shop
    days = sorted(set(table["day"]))
    until = days[1] + timedelta(days=QUESTION.horizon_days)
    found = compare(folder / "shadow", purchases=Purchases(log, QUESTION, KEY, until))
    assert found.labelled == (table["day"] <= days[1]).sum()
    early = Purchases(log, QUESTION, KEY, days[0])
    assert compare(folder / "shadow", purchases=early).labelled == 0
    other = Purchases(log, QUESTION, b"another key" * 3, date.max)
    assert compare(folder / "shadow", purchases=other).labelled == 0, "nobody is found again"


@pytest.mark.parametrize("times", [1, 2])
def test_of_a_customer_who_is_scored_again_the_last_row_counts(shop, tmp_path, times):
    """And without an as-of date the day of the request is used."""
    _, log, table = shop
    day = max(table["day"])
    rows = table[table["day"] == day]
    names = [hashed(KEY, name) for name in rows["customer_id"]]
    for number in range(times):
        p = list(rows["champion"]) if number == times - 1 else [0.0] * len(rows)
        as_of = [day] * len(rows) if times > 1 else None
        write_shadow(tmp_path, day + number * DAY, p, p, customers=names, as_of=as_of)
    found = compare(tmp_path, purchases=Purchases(log, QUESTION, KEY, date.max))
    assert (found.rows, found.labelled) == (times * len(rows), len(rows))
    assert found.positives == rows["label"].sum()


@examples(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_customer_with_several_rows_counts_once_for_the_interval(seed, copies):
    draw = np.random.default_rng(seed)
    bought = draw.integers(2, size=400)
    a, b = draw.random(400), draw.random(400)
    once = paired(a, b, bought, np.arange(400))
    repeated = paired(
        *(np.repeat(values, copies) for values in (a, b, bought)), np.repeat(np.arange(400), copies)
    )
    for name in ("roc_auc", "roc_auc_low", "roc_auc_high", "log_loss", "log_loss_low"):
        assert repeated[name] == pytest.approx(once[name], rel=1e-6, abs=1e-9)
    same = paired(a, a, bought, np.arange(400))
    assert (same["roc_auc"], same["roc_auc_low"], same["log_loss_high"]) == (0, 0, 0)
    turned = paired(b, a, bought, np.arange(400))
    assert turned["roc_auc"] == pytest.approx(-once["roc_auc"])
    assert turned["log_loss_high"] == pytest.approx(-once["log_loss_low"])


def test_with_too_few_of_either_outcome_there_is_no_comparison():
    bought = np.array([1] * 30 + [0] * 400)
    found = paired(RNG.random(430), RNG.random(430), bought, np.arange(430))
    assert found == {"labelled": 430, "positives": 30}


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Two rankings of equal quality, whose difference is zero, on 300 draws of clustered rows."""
    draw, hits = np.random.default_rng(1), 0
    for _ in range(300):
        taste = np.repeat(draw.normal(size=150), 2)
        bought = (taste + draw.logistic(size=300) > 0).astype(int)
        noise = (np.repeat(draw.normal(size=150), 2) for _ in range(2))
        a, b = (1 / (1 + np.exp(-(taste + one))) for one in noise)
        found = paired(a, b, bought, np.repeat(np.arange(150), 2))
        hits += found["roc_auc_low"] <= 0 <= found["roc_auc_high"]
    assert 0.91 <= hits / 300 <= 0.98


def test_a_better_or_uncertain_challenger_does_no_harm():
    blank = ShadowComparison(MODEL, 3, 4, "ok", rows=1000, agreement=0.95, rank_correlation=0.9)
    better = replace(blank, roc_auc=0.02, roc_auc_low=0.01, roc_auc_high=0.03, log_loss_low=-0.02)
    assert harm(better, GATE) == ()
    unsure = replace(blank, roc_auc=-0.01, roc_auc_low=-0.03, roc_auc_high=0.01)
    assert harm(unsure, GATE) == ()
