"""docs/quality.md: our models beside AutoML tools and the oracle, from `make bench-quality`."""

from __future__ import annotations

from typing import Any

from flows.docs_contract import MADE

AIM = 0.010  # ROC AUC that the winner may lie under the oracle on simulated data
WAYS = {
    "own": "its own",
    "dates": "our dates, then refitted",
    "grouped": "bagging folds by customer",
}
METRICS = {"roc_auc": "ROC AUC", "log_loss": "log loss"}
NOT_KNOWN = (
    "**These runs do not hold AutoGluon's strongest way yet** (`best_quality` on all labelled rows,"
    " bagging folds by customer), so nothing here says that we are ahead of the strongest peer."
)
HEAD = "| model | validates on | optimises | seconds | ROC AUC [95 %] | log loss [95 %] |" + (
    " calibration error | mean prediction |"
)


def quality_page(figures: dict[str, Any]) -> str:
    """figures: what `tests/bench/quality.py` writes."""
    lines = [MADE + "# Quality beside AutoML tools and the oracle", ""]
    if figures["real"]:
        lines += _real(figures["real"], figures["cores"])
    if figures["oracle"]:
        lines += _oracle(figures["oracle"])
    return "\n".join(lines).rstrip("\n") + "\n"


def _real(real: dict[str, Any], cores: int) -> list[str]:
    rows = real["rows"]
    body = [_row(f"`{one['name']}`", "–", "–", one["seconds"], one) for one in real["ours"]]
    against = []
    for peer in real["peers"]:
        settings = (peer["name"], WAYS[peer["way"]], METRICS[peer["metric"]])
        if "failed" in peer:
            body.append(f"| {' | '.join(settings)} | failed | | | | |")
            continue
        body.append(_row(*settings, peer["fit_seconds"], peer))
        cells = [_signed(peer["difference"][name]) for name in METRICS]
        against.append(f"| {' | '.join([*settings, *cells])} |")
    # Who is strongest is not known without the strongest way of a peer.
    measured = [peer for peer in real["peers"] if "failed" not in peer]
    known = any(peer["way"] == "grouped" for peer in measured)
    headline = _headline(real["winner"], measured) if known else [NOT_KNOWN, ""]
    versions = {p["name"]: p["version"] for p in real["peers"] if "version" in p}
    return [
        *headline,
        f"The last `make bench-quality` on {cores} cores: Online Retail II, {real['features']}"
        " features;",
        f"{rows['train']:,} training, {rows['valid']:,} validation and {rows['test']:,} test rows,"
        f" {real['positive_rate']:.1%} of which buy again.",
        f"Our families together took {real['seconds']:.0f} s (search, refit, calibration, export,"
        " ensemble, and the start",
        "of their processes). Each peer got the same table and as many seconds, its libraries"
        " loaded before the clock",
        "starts: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "AutoGluon with its preset `medium_quality`, but for the folds by customer: there it is"
        " `best_quality` on all",
        "labelled rows, with `groups=` and without dynamic stacking. Its refit has no limit of its"
        " own, so it may take",
        "longer than it was given. `Its own` validation rows are a random share of all labelled"
        " rows: a tool that is not told of dates then meets",
        "the same customers a month later, with outcomes that overlap, and may take its fit for"
        " better than it is. Nobody sees the labels of the test rows. Intervals: 95 %, over"
        " customers. The"
        f" winner, `{real['winner']}`, was chosen on",
        "validation.",
        "",
        HEAD,
        "|---|---|---|---:|---|---|---:|---:|",
        *body,
        "",
        f"## `{real['winner']}` − peer, paired",
        "",
        "In our favour: ROC AUC above 0, log loss below 0. An interval without 0 is a difference"
        " that these test rows can show.",
        "",
        "| peer | validates on | optimises | ROC AUC [95 %] | log loss [95 %] |",
        "|---|---|---|---|---|",
        *against,
        "",
    ]


def _headline(winner: str, peers: list[dict[str, Any]]) -> list[str]:
    """For each metric, in words, where the winner stands beside the peer that is best at it."""
    lines = []
    for metric, sign in (("roc_auc", 1), ("log_loss", -1)):
        if not peers:
            break
        best = max(peers, key=lambda peer: sign * peer["scores"][metric])
        low, high = sorted(sign * best["difference"][metric][end] for end in ("low", "high"))
        verdict = "ahead of" if low > 0 else "behind" if high < 0 else "level with"
        lines.append(
            f"- **{METRICS[metric]}: `{winner}` is {verdict} the strongest peer**, {best['name']}"
            f" (validates on {WAYS[best['way']]}, optimises {METRICS[best['metric']]}):"
            f" {best['scores'][metric]:.4f}; ours minus theirs"
            f" {_signed(best['difference'][metric])}."
        )
    return [*lines, ""] if lines else []


def _row(name: str, way: str, metric: str, seconds: float, entry: dict[str, Any]) -> str:
    scores = entry["scores"]
    cells = [
        *(name, way, metric, f"{seconds:.0f}"),
        *(
            f"{scores[m]:.4f} [{scores[f'{m}_low']:.4f}, {scores[f'{m}_high']:.4f}]"
            for m in METRICS
        ),
        f"{scores['calibration_error']:.3f}",
        f"{scores['mean_predicted']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _signed(difference: dict[str, float]) -> str:
    low, high = difference["low"], difference["high"]
    return f"{difference['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"


def _oracle(runs: list[dict[str, Any]]) -> list[str]:
    body = []
    for run in runs:
        below = run["oracle"] - run["roc_auc"]
        verdict = "held" if round(below, 4) <= AIM else "missed"
        cells = [f"{run['seed']}", f"`{run['winner']}`", f"{run['roc_auc']:.4f}"]
        cells += [f"{run['oracle']:.4f}", f"{below:.4f}, {verdict}"]
        body.append(f"| {' | '.join(cells)} |")
    return [
        "## On simulated data",
        "",
        "The oracle knows how the shop was simulated and sees what any model sees; no model beats"
        " it but by luck.",
        f"Aim: at most {AIM:.3f} of ROC AUC below it.",
        "",
        "| seed | winner | ROC AUC | oracle | below the oracle |",
        "|---:|---|---:|---:|---:|",
        *body,
        "",
    ]
