"""The run in figures: `summary.json` for machines (docs/summary.schema.json), a table for us."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.terminal import facts, plain, short, visible
from configs.command import make
from configs.settings import Settings
from flows.dataset import TABLE, Parts, TableStage
from flows.family import read_result
from flows.outcome import Outcome
from flows.run import RunContext, code_revision
from flows.stage import Stage, code_sha256
from ingestion.labelled.unseen import in_words
from ingestion.outcome import TRANSACTIONS
from registry.location import tracking_uri
from training.evaluate import Evaluation

NO_COSTS = (
    "none are set (training.contact_cost, training.sale_value): the model gives probabilities and"
    " no decision"
)
# Folded to be narrow: the table fits 80 columns.
HEADINGS = (
    *("ROC AUC", "95 % interval"),
    *("avg.\nprec.", "log\nloss", "Brier", "calib.\nerror", "lift\n10 %"),
)
UNSEEN = 5  # columns that are named at the end
TEST_METRICS = ("average_precision", "log_loss", "brier", "calibration_error", "lift_top_decile")


def summarise(
    context: RunContext,
    parts: Parts,
    validated: Stage,
    table: TableStage,
    candidates: dict[str, Stage],
    evaluation: Evaluation,
    oracle_roc_auc: float | None,
    outcome: Outcome,
) -> dict[str, Any]:
    """The content of `summary.json`, JSON values only."""
    settings, run, found = context.settings, context.run, evaluation
    facts = table.facts.to_json()
    return {
        "schema_version": 3,
        "run_id": run.id,
        "config": settings.name,
        "source": settings.source.kind,
        "data_sha256": validated.files[TRANSACTIONS],
        "table_sha256": table.files[TABLE],
        "code_revision": code_revision(),
        "code_sha256": code_sha256(),
        "seconds": {"total": round(run.elapsed(), 3), **run.seconds},
        "peak_memory_mb": run.peak_memory_mb,
        "batch": parts.batch,
        "rows": validated.facts["rows"],
        "unseen": validated.facts["level"].get("unseen", {}),
        "warnings": warnings(validated.facts),
        "table": {key: facts[key] for key in ("features", "rows", "positive_rate", "as_of")},
        "leak_check": {
            name: value
            for name, value in facts["leak_check"].items()
            if name not in ("leaks", "strong")
        },
        "families": {name: _family(stage, found, name) for name, stage in candidates.items()},
        "differences": found.between,
        "baseline": asdict(found.baseline),
        "oracle": None if oracle_roc_auc is None else {"roc_auc": oracle_roc_auc},
        "winner": found.winner,
        "against": {"baseline": found.against_baseline, "champion": found.against_champion},
        "slices": found.slices,
        "threshold": settings.training.threshold,
        "decision": {
            "action": outcome.decision.action,
            "reasons": list(outcome.decision.reasons),
            "rules": list(outcome.decision.rules),
        },
        "model": {
            "name": outcome.version.name,
            "version": outcome.version.version,
            "bundle_sha256": outcome.version.bundle_sha256,
            "export_max_difference": found.export_difference[found.winner],
            "latency": found.latency,
        },
        "mlflow": {"tracking_uri": tracking_uri(settings), "run_id": context.parent_run},
    }


def warnings(facts: dict[str, Any]) -> list[str]:
    """What a person should look at in the rows, as sentences: rules that keep out a large share,
    and broken rules of severity `warn` about the whole batch."""
    measured = [
        f"{finding['code']} is {finding['found']:.3g}, the limit is {finding['limit']}:"
        f" {finding['why']} (contract.rules.{finding['code']})"
        for finding in facts["findings"]
        if not finding["success"]
        and finding["severity"] == "warn"
        and isinstance(finding["found"], float)
    ]
    heavy = [f"{rule['text']} ({rule['setting']})" for rule in facts["heavy"]]
    return [*heavy, *measured]


def _family(stage: Stage, found: Evaluation, name: str) -> dict[str, Any]:
    result = read_result(stage)
    return {
        "folder": stage.folder.name,
        "trials": len(result["trials"]),
        "seconds": round(sum(result["seconds"].values()), 3),
        "fit_seconds": round(result["seconds"]["tuning"] + result["seconds"]["refit"], 3),
        "ended_by": result["ended_by"],
        "reused": stage.reused,
        "params": result["params"],
        "calibration": result["calibration"]["kind"],
        "valid": result["valid_metrics"],
        "test": found.scores[name],
        "test_before_calibration": found.before_calibration[name],
    }


def print_summary(
    console: Console, summary: dict[str, Any], settings: Settings, folder: Path
) -> None:
    """The one table at the end, the decision with its reasons, and what to type next."""
    rows, split, model = summary["rows"], summary["table"], summary["model"]
    asked = "positive" if summary["source"] == "table" else "buy again"
    parts = [
        f"{n} {c:,} ({split['positive_rate'][n]:.1%} {asked})" for n, c in split["rows"].items()
    ]
    console.print()
    console.print(
        facts(
            (
                "Rows",
                f"{rows['raw']:,} in = {rows['valid']:,} valid"
                f" + {rows['quarantined']:,} in quarantine",
            ),
            ("", ", ".join(f"{short(code)} {count:,}" for code, count in rows["reasons"].items())),
            *_other(summary["unseen"]),
            *(("Warning", text) for text in summary["warnings"]),
            ("Table", f"{split['features']} features, rows: {', '.join(parts)}"),
        )
    )
    console.print()
    console.print(_scores(summary))
    console.print("* chosen on validation, before the test split was opened", style="dim")
    promoted = summary["decision"]["action"] == "promote"
    verdict = "is the new champion" if promoted else "is not promoted: the champion, if any, stays"
    version = f"{model['name']} version {model['version']} ({summary['winner']})"
    seconds = dict(summary["seconds"])
    total = f"{seconds.pop('total'):.1f} in all"
    stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    pages = "report.html, model_card.md, data_report.html, contract.html, summary.json, run.log"
    console.print()
    console.print(
        facts(
            ("Decision", f"{version} {verdict}"),
            *(("", reason) for reason in summary["decision"]["reasons"]),
            *([("Costs", NO_COSTS)] if summary["threshold"] is None else []),
            *(("Look at", question["text"]) for question in summary["questions"]),
            ("Seconds", f"{total}: {stages}; peak memory {summary['peak_memory_mb']:,.0f} MB"),
        )
    )
    then = [make("serve", settings), f"then, in another terminal: {make('predict', settings)}"]
    if not promoted and not _against_a_champion(summary):
        then = [f"there is no champion to serve: {folder / 'report.html'} says why"]
    # Not folded: what is copied from the terminal must be the path and the commands themselves.
    for head, text in (
        ("Run", f"{folder}  ({pages})"),
        *zip(("Next", ""), then, strict=False),
        ("", f"or look at all runs: {make('ui', settings)}"),
    ):
        console.print(Text.assemble((f"{head:9} ", "bold"), visible(text)), soft_wrap=True)


def _other(unseen: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Lines about the values of a table that are none of their columns' categories."""
    columns = sorted(
        (name for name, found in unseen.items() if found["unseen"]),
        key=lambda name: -unseen[name]["share"],
    )
    heads = ["Other", *[""] * len(columns)]
    lines = [in_words(name, unseen[name]) for name in columns[:UNSEEN]]
    if columns[UNSEEN:]:
        lines.append(f"and {len(columns) - UNSEEN} more columns; all of them: contract.html")
    return list(zip(heads, lines, strict=False))


def _against_a_champion(summary: dict[str, Any]) -> bool:
    """Whether there was one: then the gate asked a rule about it."""
    asked = {rule["rule"] for rule in summary["decision"]["rules"]}
    return not asked.isdisjoint({"better", "unscorable"})


def _scores(summary: dict[str, Any]) -> Table:
    """The families by validation, with their test figures beside baseline and oracle."""
    table = Table(title="On the test split", title_justify="left", box=None, pad_edge=False)
    table.add_column("", overflow="ellipsis", max_width=20)
    for column in HEADINGS:
        table.add_column(column, justify="right", vertical="bottom")
    families = summary["families"]
    for name in sorted(families, key=lambda name: families[name]["valid"]["recalibrated_log_loss"]):
        test = families[name]["test"]
        table.add_row(
            plain(f"{name} *" if name == summary["winner"] else name),
            f"{test['roc_auc']:.4f}",
            f"{test['roc_auc_low']:.3f} – {test['roc_auc_high']:.3f}",
            *(f"{test[metric]:.3f}" for metric in TEST_METRICS),
        )
    baseline = summary["baseline"]
    table.add_row("baseline", f"{baseline['roc_auc']:.4f}")
    table.caption = Text(f"baseline: {short(baseline['feature'])} alone")
    table.caption_justify = "left"
    if summary["oracle"]:
        table.add_row("oracle (ceiling)", f"{summary['oracle']['roc_auc']:.4f}")
    return table
