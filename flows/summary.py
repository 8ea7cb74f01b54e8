"""The run in figures: `summary.json` for machines (docs/summary.schema.json), a table for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.settings import Settings
from flows.outcome import Outcome
from flows.run import Run
from flows.stage import Stage
from flows.tasks import read_result
from registry.store import tracking_uri
from training.evaluate import Evaluation

TEST_METRICS = ("average_precision", "log_loss", "brier", "calibration_error", "lift_top_decile")


def summarise(
    settings: Settings,
    run: Run,
    validated: Stage,
    table: Stage,
    fitted: dict[str, Stage],
    evaluation: Evaluation,
    oracle_roc_auc: float | None,
    outcome: Outcome,
    parent_run: str,
) -> dict[str, Any]:
    """The content of `summary.json`, JSON values only."""
    return {
        "schema_version": 1,
        "run_id": run.id,
        "config": settings.name,
        "source": settings.source.kind,
        "seconds": {"total": round(run.elapsed(), 3), **run.seconds},
        "peak_memory_mb": run.peak_memory_mb,
        "rows": validated.facts,
        "table": {key: table.facts[key] for key in ("features", "rows", "positive_rate", "as_of")},
        "families": {
            name: _family(stage, evaluation.scores[name]) for name, stage in fitted.items()
        },
        "differences": evaluation.between_families,
        "baseline": {"roc_auc": evaluation.baseline_roc_auc},
        "oracle": None if oracle_roc_auc is None else {"roc_auc": oracle_roc_auc},
        "winner": evaluation.winner,
        "decision": {"action": outcome.decision.action, "reasons": list(outcome.decision.reasons)},
        "model": {
            "name": outcome.version.name,
            "version": outcome.version.version,
            "bundle_sha256": outcome.version.bundle_sha256,
            "export_max_difference": evaluation.export_difference[evaluation.winner],
        },
        "mlflow": {"tracking_uri": tracking_uri(settings), "run_id": parent_run},
    }


def _family(stage: Stage, scores: dict[str, float]) -> dict[str, Any]:
    result = read_result(stage)
    return {
        "trials": len(result["trials"]),
        "seconds": round(sum(result["seconds"].values()), 3),
        "ended_by": result["ended_by"],
        "reused": stage.reused,
        "valid": result["valid_metrics"],
        "test": scores,
    }


def print_summary(console: Console, summary: dict[str, Any], folder: Path) -> None:
    """The one table at the end, the decision with its reasons, and what to type next."""
    rows, families = summary["rows"], summary["families"]
    console.print()
    console.print(
        f"[bold]Rows[/]      {rows['raw']:,} in = {rows['valid']:,} valid + {rows['quarantined']:,} in quarantine"
    )
    console.print(
        "          " + ", ".join(f"{code} {count:,}" for code, count in rows["reasons"].items()),
        style="dim",
    )
    split = summary["table"]
    console.print(
        "[bold]Table[/]     " + ", ".join(f"{name} {count:,} rows ({split['positive_rate'][name]:.1%} buy again)" for name, count in split["rows"].items())
    )  # fmt: skip
    console.print()
    table = Table(
        title="On the test split",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for column in (
        "",
        "ROC AUC",
        "95 % interval",
        "avg. precision",
        "log loss",
        "Brier",
        "calib. error",
        "lift top 10 %",
    ):
        table.add_column(column, justify="left" if not column else "right")
    for name, family in sorted(families.items(), key=lambda item: -item[1]["valid"]["roc_auc"]):
        test = family["test"]
        table.add_row(
            f"{name} *" if name == summary["winner"] else name,
            f"{test['roc_auc']:.4f}",
            f"{test['roc_auc_low']:.4f} – {test['roc_auc_high']:.4f}",
            *(f"{test[metric]:.3f}" for metric in TEST_METRICS),
        )
    table.add_row("order count (baseline)", f"{summary['baseline']['roc_auc']:.4f}")
    if summary["oracle"]:
        table.add_row("oracle (ceiling)", f"{summary['oracle']['roc_auc']:.4f}")
    console.print(table)
    console.print("* chosen on validation, before the test split was opened", style="dim")
    console.print()
    model, decision = summary["model"], summary["decision"]
    verdict = (
        "is the new champion"
        if decision["action"] == "promote"
        else "is not promoted: the champion stays"
    )
    console.print(
        f"[bold]Decision[/]  {model['name']} version {model['version']} ({summary['winner']}) {verdict}"
    )
    for reason in decision["reasons"]:
        console.print(f"          {reason}", style="dim")
    seconds = summary["seconds"]
    stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "total")
    console.print(
        f"[bold]Seconds[/]   {seconds['total']:.1f} in all: {stages}; peak memory {summary['peak_memory_mb']:,.0f} MB"
    )
    config = "" if summary["config"] == "default" else f" CONFIG={summary['config']}"
    console.print(f"[bold]Run[/]       {folder}  (summary.json, contract.html, run.log)")
    console.print(
        f"[bold]Next[/]      make serve{config}    then, in another terminal: make predict{config}    or look: make ui"
    )
