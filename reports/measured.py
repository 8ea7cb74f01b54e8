"""Render the docs about what the benches and drills measured, from docs/figures.json."""

from __future__ import annotations

from typing import Any

from monitoring.measure import SENSORS
from reports.markdown import (
    Cells,
    amount,
    between,
    fill,
    limit,
    render,
    signed,
    with_interval,
)

RUNS = {"default": "simulated (default)", "online_retail": "Online Retail II"}
AIM = 0.010  # ROC AUC that the winner may lie under the oracle on simulated data
SERVING_PEERS = ("FastAPI", "BentoML", "MLflow", "ONNX Runtime")


# --- speed ---------------------------------------------------------------------------------------


def speed_page(figures: dict[str, Any]) -> str:
    """Render docs/speed.md. figures: with what `tests/bench/pipeline.py`, `scoring.py` and
    `serving.py` wrote."""
    bench = [
        [
            item["name"],
            f"{amount(item['value'])} {item['unit']}",
            limit(item),
            *(amount(item["peers"].get(name, "")) for name in ("pandas", "polars")),
        ]
        for item in figures.get("bench", [])
        if "ROC AUC" not in item["name"]  # those stand in the README
    ]
    scoring = [
        [
            item["name"],
            amount(item["value"], item["unit"]),
            limit(item),
            amount(item["peers"].get("polars", "")),
        ]
        for item in figures.get("scoring", [])
    ]
    service, shadow = _of_shadow(figures.get("serving", []))
    return render(
        "speed",
        bench=bench,
        scoring=scoring,
        service=[_of_service(item) for item in service],
        shadow=[_beside_none(item) for item in shadow],
        peers=SERVING_PEERS,
    )


def _of_shadow(figures: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Separate the figures of the service from those with a challenger in shadow, which are
    consecutive and are followed by the load average."""
    places = [n for n, one in enumerate(figures) if "in shadow" in one["name"]]
    if not places:
        return figures, []
    first, rest = places[0], range(places[0], len(figures))
    last = next((n for n in rest if figures[n]["name"].startswith("load average")), len(figures))
    return figures[:first] + figures[last:], figures[first:last]


def _of_service(item: dict[str, Any]) -> list[str]:
    others = {name: x for name, x in item["peers"].items() if name not in SERVING_PEERS}
    measured = amount(item["value"], item["unit"])
    if others:
        measured += f" ({', '.join(f'{name}: {amount(x)}' for name, x in others.items())})"
    peers = [amount(item["peers"].get(name, "")) for name in SERVING_PEERS]
    return [item["name"], measured, limit(item), *peers]


def _beside_none(item: dict[str, Any]) -> list[str]:
    beside = ", ".join(
        amount(x) if name == "without" else f"{name}: {amount(x)}"
        for name, x in item["peers"].items()
    )
    return [item["name"].strip(), amount(item["value"], item["unit"]), limit(item), beside]


# --- the comparison of the models ----------------------------------------------------------------


def comparison_page(figures: dict[str, Any]) -> str:
    """Render docs/model-comparison.md. figures: with the last measured runs."""
    runs = {title: figures[key] for key, title in RUNS.items()}
    calibration = [
        [title, name]
        + [
            f"{family['test_before_calibration'][m]:.4f} → {family['test'][m]:.4f}"
            for m in ("calibration_error", "log_loss")
        ]
        for title, run in runs.items()
        for name, family in run["families"].items()
    ]
    return render(
        "model-comparison",
        candidates={title: _candidates(run) for title, run in runs.items()},
        calibration=calibration,
        slices={title: _slices(run["slices"]) for title, run in runs.items()},
        decisions={
            title: (run["decision"]["action"], _outcomes(run["decision"]["rules"]))
            for title, run in runs.items()
        },
    )


def _candidates(run: dict[str, Any]) -> Cells:
    rows, winner, baseline = [], run["winner"], run["baseline"]
    by_validation = sorted(
        run["families"].items(), key=lambda item: item[1]["valid"]["recalibrated_log_loss"]
    )
    for name, family in by_validation:
        valid, test = family["valid"], family["test"]
        rows.append(
            [
                f"**{name}**" if name == winner else name,
                *(f"{valid[metric]:.4f}" for metric in ("recalibrated_log_loss", "roc_auc")),
                *(with_interval(test, metric) for metric in ("roc_auc", "log_loss")),
                f"{test['calibration_error']:.3f}",
                _versus(run, winner, name),
            ]
        )
    others = {f"`{baseline['feature']}` alone": baseline["roc_auc"]}
    if run["oracle"]:
        others["oracle"] = run["oracle"]["roc_auc"]
    return rows + [[name, "", "", f"{value:.4f}", "", "", ""] for name, value in others.items()]


def _versus(run: dict[str, Any], winner: str, name: str) -> str:
    if name == winner:
        return ""
    pair = run["differences"].get(f"{winner} - {name}")
    sign = 1 if pair else -1
    difference = (pair or run["differences"][f"{name} - {winner}"])["roc_auc"]
    low, high = sorted((sign * difference["low"], sign * difference["high"]))
    return signed({"difference": sign * difference["difference"], "low": low, "high": high})


def _slices(slices: list[dict[str, Any]]) -> Cells:
    judged = sorted((s for s in slices if s["judged"]), key=lambda s: s["roc_auc"])[:3]
    return [
        [
            s["slice"],
            f"{s['rows']:,}",
            with_interval(s, "roc_auc", 3),
            f"{s['mean_predicted']:.3f}",
            f"{s['observed']:.3f}",
        ]
        for s in judged
    ]


def _outcomes(rules: list[dict[str, Any]]) -> Cells:
    return [
        [rule["rule"], "held" if rule["held"] else "**broken**", rule["found"], rule["limit"]]
        for rule in rules
    ]


# --- quality beside AutoML tools -----------------------------------------------------------------

WAYS = {
    "own": "its own",
    "dates": "our dates, then refitted",
    "grouped": "bagging folds by customer",
}
METRICS = {"roc_auc": "ROC AUC", "log_loss": "log loss"}


def quality_page(figures: dict[str, Any]) -> str:
    """Render docs/quality.md. figures: what `tests/bench/quality.py` writes."""
    real = figures["real"]
    return render(
        "quality",
        cores=figures["cores"],
        real=real,
        **(_beside_peers(real) if real else {}),
        aim=AIM,
        oracle=[
            [
                f"{run['seed']}",
                f"`{run['winner']}`",
                f"{run['roc_auc']:.4f}",
                f"{run['oracle']:.4f}",
                f"{(below := run['oracle'] - run['roc_auc']):.4f},"
                f" {'held' if round(below, 4) <= AIM else 'missed'}",
            ]
            for run in figures["oracle"]
        ],
    )


def _beside_peers(real: dict[str, Any]) -> dict[str, Any]:
    body = [_scored([f"`{one['name']}`", "–", "–"], one["seconds"], one) for one in real["ours"]]
    against = []
    for peer in real["peers"]:
        settings = [peer["name"], WAYS[peer["way"]], METRICS[peer["metric"]]]
        if "failed" in peer:
            body.append([*settings, "failed", "", "", "", ""])
            continue
        body.append(_scored(settings, peer["fit_seconds"], peer))
        against.append([*settings, *(signed(peer["difference"][name]) for name in METRICS)])
    # Who is strongest is not known without the strongest way of a peer.
    measured = [peer for peer in real["peers"] if "failed" not in peer]
    known = any(peer["way"] == "grouped" for peer in measured)
    return {
        "headline": headline(real["winner"], measured) if known else [],
        "known": known,
        "models": body,
        "against": against,
        "versions": {p["name"]: p["version"] for p in real["peers"] if "version" in p},
    }


def headline(winner: str, peers: list[dict[str, Any]]) -> list[str]:
    """Say for each metric where the winner stands beside the peer that is best at it."""
    lines = []
    for metric, sign in (("roc_auc", 1), ("log_loss", -1)):
        best = max(peers, key=lambda peer: sign * peer["scores"][metric])
        low, high = sorted(sign * best["difference"][metric][end] for end in ("low", "high"))
        verdict = "ahead of" if low > 0 else "behind" if high < 0 else "level with"
        lines.append(
            f"- **{METRICS[metric]}: `{winner}` is {verdict} the strongest peer**, {best['name']}"
            f" (validates on {WAYS[best['way']]}, optimises {METRICS[best['metric']]}):"
            f" {best['scores'][metric]:.4f}; ours minus theirs"
            f" {signed(best['difference'][metric])}."
        )
    return lines


def _scored(settings: list[str], seconds: float, entry: dict[str, Any]) -> list[str]:
    scores = entry["scores"]
    return [
        *settings,
        f"{seconds:.0f}",
        *(with_interval(scores, metric, ends=4) for metric in METRICS),
        f"{scores['calibration_error']:.3f}",
        f"{scores['mean_predicted']:.3f}",
    ]


# --- sections of pages written by hand -----------------------------------------------------------

USUAL_RULES = {
    "psi": "PSI of any feature above .2",
    "ks": "Kolmogorov-Smirnov of any feature, Bonferroni",
    "evidently": "Evidently's default: half of the columns",
    "classifier": "domain classifier, ROC AUC above .6",
    "sensors": "**the sensors**",
}
DRIFTS = {
    "price": "prices + 10 %",
    "unit": "5 % of the lines in another unit",
    "missing": "20 % of the repeat invoices without their customer",
    "mix": "half of the new customers from abroad",
    "slower": "rate of buying × .8",
    "faster": "rate of buying × 1.25",
}


def fill_monitoring(text: str, figures: dict[str, Any]) -> str:
    """Fill in the sections of docs/monitoring.md; what was not measured is left as it is."""
    monitoring, labels = figures.get("monitoring"), figures.get("monitoring_labels")
    sections = ["sensors", *(("rules", "power", "real") if monitoring else ())]
    return fill(
        text,
        "monitoring",
        [*sections, *(("champion",) if labels else ())],
        sensors=SENSORS,
        figures=monitoring,
        labels=labels,
        rules=USUAL_RULES,
        drifts=DRIFTS,
        hits=lambda one: f"{one['hits']} of {one['of']}",
        interval=lambda one: (
            between(one, 2) if one["of"] < 150 else f"[{one['low']:.1%}, {one['high']:.1%}]"
        ),
        shares=lambda each: " | ".join(f"{one['share']:.2f} {between(one, 2)}" for one in each),
    )


def fill_operations(text: str, figures: dict[str, Any]) -> str:
    """Fill in the simulated year and the drill of docs/operations.md, as far as they were
    measured."""
    sections = [name for name in ("drill", "year") if figures.get(name)]
    year, drill = figures.get("year"), figures.get("drill")
    return fill(text, "operations", sections, year=year, drill=drill)


def fill_readme(text: str, figures: dict[str, Any]) -> str:
    """Fill in the figures of README.md: a column for each of the last measured runs."""
    runs = [figures[name] for name in RUNS]
    names = {run["baseline"]["feature"] for run in runs}
    alone = f"`{names.pop()}` alone" if len(names) == 1 else "best feature alone"
    lines = {
        "rows in = valid + quarantined": [
            f"{run['rows']['raw']:,} = {run['rows']['valid']:,} + {run['rows']['quarantined']:,}"
            for run in runs
        ],
        "test customers, of whom buy again": [
            f"{run['table']['rows']['test']:,}, {run['table']['positive_rate']['test']:.1%}"
            for run in runs
        ],
        f"{alone}, ROC AUC": [f"{run['baseline']['roc_auc']:.3f}" for run in runs],
    }
    for family in runs[0]["families"]:
        scores = [with_interval(run["families"][family]["test"], "roc_auc", 3) for run in runs]
        lines[f"`{family}`, ROC AUC"] = [
            f"**{text}**" if family == run["winner"] else text
            for run, text in zip(runs, scores, strict=True)
        ]
    lines["oracle, ROC AUC"] = [
        f"{run['oracle']['roc_auc']:.3f}" if run["oracle"] else "unknown" for run in runs
    ]
    lines["seconds on 2 cores"] = [f"{run['seconds']['total']:.0f}" for run in runs]
    questions = [
        (name, question["text"])
        for name, run in zip(RUNS.values(), runs, strict=True)
        for question in run.get("questions", ())
    ]
    table = [[name, *cells] for name, cells in lines.items()]
    runs_named = list(RUNS.values())
    return fill(text, "readme", ["figures"], runs=runs_named, table=table, questions=questions)
