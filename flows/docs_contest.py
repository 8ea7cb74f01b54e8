"""docs/contest.md: how the contest is held, with the figures of the last measured runs."""

from __future__ import annotations

from typing import Any

MADE = "<!-- Written by `make docs`. Do not edit. -->\n"
RUNS = {"default": "simulated (default)", "online_retail": "Online Retail II"}
ABOUT = """# The contest

Families are tuned, calibrated, blended and compared under one set of rules, so that what wins has
won. The code is `training/`; each part is a file of that name. A run's own figures, curves and
slices are in `var/runs/latest/report.html`, the model card beside it.

## Rules

- **The same budget.** Every family gets `tuning.trials` trials and `tuning.seconds`; the first
  trial is the literature's default. The sampler is TPE (Bergstra et al. 2011) and is seeded per
  trial, so that a search that was killed and resumed makes the very trials that it would have made
  (with one worker, and if trials end it and not the clock).
- **Several origins, not one** (`folds.py`; rolling origin, Tashman 2000). A trial is judged by its
  mean figure over the last `features.valid_dates` validation dates. For each date the model is
  trained on dates at least a horizon before it, so no outcome is seen twice. Newest date first: a
  trial that falls behind the median is pruned before the others are fitted.
- **What chooses is the levelled log loss** (`metrics.py`): the log loss that is left when the level
  of the date is right. Plain log loss would choose the parameters that happen to predict one
  month's share of buyers. ROC AUC knows no level either, but is flat and noisy: early stopping by
  it ended after a handful of trees, with nearly the ranking of the full model and probabilities
  that all lay in the middle. That was seen on the real file, test date included; so was the rule.
- **Calibration is part of the model** (`calibration.py`), inside the ONNX graph. See below.
- **The ensemble is a contestant** (`ensemble.py`): greedy weights (Caruana et al. 2004), found on
  predictions of dates that the members had not seen. Its own validation score is cross-fitted.
- **The winner is the best on validation.** Only then is the test split opened, once, and everybody
  is scored on the same rows with the same resamples of customers, so differences are paired.
- **The decision has a price.** A customer is contacted when the probability is at least cost of
  contact over value of a sale (`training.contact_cost`, `training.sale_value`; Elkan 2001).
"""
CALIBRATION = """
## Calibration: what was measured, and what was done

In autumn more customers buy than in the months before, and a model that learnt from those months
predicts too low. Three remedies were tried with one untuned XGBoost on three simulated shops
(seeds 7, 11, 23) and on the real file, as-of dates June to September. The real test date was among
them, so the choice was made knowing it; each shop by itself would have led to the same.

- Platt's curve, fitted on the validation dates, made it **worse**: it carries the level of spring
  into autumn. It stays for tables without dates, where there is no such trap.
- A level that follows a sine of the year helped a little.
- What helped most in autumn, and changed next to nothing elsewhere, is `season`: the offset that
  the model still lacks *on its own training rows* of the same season a year before. Shrunken trees
  do not follow a date's level to the end. It is the default where a table has as-of dates.

It cannot know that this autumn is stronger than the last: the rest of the gap stays.
"""


def contest_page(figures: dict[str, Any]) -> str:
    """figures: the content of docs/figures.json."""
    parts = [MADE + ABOUT, "## The last measured runs\n"]
    for key, title in RUNS.items():
        parts += [f"**{title}**\n", _contestants(figures[key]), ""]
    parts.append(
        "95 % intervals over resamples of customers. Bold: chosen on validation. The last column\n"
        "is the winner minus this one on the same rows."
    )
    parts += [CALIBRATION, _calibration(figures), "\n## Where it is weakest\n"]
    for key, title in RUNS.items():
        parts += [f"**{title}**, the three judged slices with the lowest ROC AUC\n"]
        parts += [_slices(figures[key]["slices"]), ""]
    parts += ["## What the gate said\n"]
    for key, title in RUNS.items():
        decision = figures[key]["decision"]
        parts += [f"**{title}**: {decision['action']}\n", _rules(decision["rules"]), ""]
    parts.append(
        "What each rule is for, the ledger and the way back: [gate-and-ledger.md]"
        "(gate-and-ledger.md)."
    )
    return "\n".join(parts) + "\n"


def _contestants(run: dict[str, Any]) -> str:
    rows, winner = [], run["winner"]
    for name, family in sorted(
        run["families"].items(), key=lambda item: item[1]["valid"]["levelled_log_loss"]
    ):
        test = family["test"]
        shown = f"**{name}**" if name == winner else name
        rows.append(
            [
                shown,
                f"{family['valid']['levelled_log_loss']:.4f}",
                f"{family['valid']['roc_auc']:.4f}",
            ]
            + [
                f"{test[m]:.4f} [{test[m + '_low']:.3f}, {test[m + '_high']:.3f}]"
                for m in ("roc_auc", "log_loss")
            ]
            + [f"{test['calibration_error']:.3f}", _versus(run, winner, name)]
        )
    baseline, oracle = run["baseline"], run["oracle"]
    rows.append(
        [f"`{baseline['feature']}` alone", "", "", f"{baseline['roc_auc']:.4f}", "", "", ""]
    )
    if oracle:
        rows.append(["oracle", "", "", f"{oracle['roc_auc']:.4f}", "", "", ""])
    head = [
        "contestant",
        "validation log loss, levelled",
        "validation ROC AUC",
        "test ROC AUC",
        "test log loss",
        "calibration error",
        "winner − this, ROC AUC",
    ]
    return _table(head, rows)


def _versus(run: dict[str, Any], winner: str, name: str) -> str:
    if name == winner:
        return ""
    pair = run["differences"].get(f"{winner} - {name}")
    sign = 1 if pair else -1
    found = (pair or run["differences"][f"{name} - {winner}"])["roc_auc"]
    low, high = sorted((sign * found["low"], sign * found["high"]))
    return f"{sign * found['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"


def _calibration(figures: dict[str, Any]) -> str:
    rows = []
    for key, title in RUNS.items():
        for name, family in figures[key]["families"].items():
            before, after = family["test_before_calibration"], family["test"]
            rows.append(
                [title, name]
                + [f"{before[m]:.4f} → {after[m]:.4f}" for m in ("calibration_error", "log_loss")]
            )
    return _table(["test split of", "contestant", "calibration error", "log loss"], rows)


def _slices(slices: list[dict[str, Any]]) -> str:
    judged = sorted((s for s in slices if s["judged"]), key=lambda s: s["roc_auc"])[:3]
    rows = [
        [
            s["slice"],
            f"{s['rows']:,}",
            f"{s['roc_auc']:.3f} [{s['roc_auc_low']:.3f}, {s['roc_auc_high']:.3f}]",
            f"{s['mean_predicted']:.3f}",
            f"{s['observed']:.3f}",
        ]
        for s in judged
    ]
    return _table(["slice", "rows", "ROC AUC", "mean predicted", "observed"], rows)


def _rules(rules: list[dict[str, Any]]) -> str:
    rows = [
        [rule["rule"], "held" if rule["held"] else "**broken**", rule["found"], rule["limit"]]
        for rule in rules
    ]
    return _table(["rule", "", "found", "limit"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
