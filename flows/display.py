"""What a person sees while a run is under way, and the table at its end.

At a terminal the search is drawn as bars; in a pipe or in CI the same facts come as plain lines.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from common.terminal import console as terminal
from common.terminal import facts, plain, short, visible
from configs.make_command import make
from configs.settings import Settings
from ingestion.labelled.unseen import in_words

REUSED = "reused, nothing it depends on has changed"
EVERY = 5.0  # seconds between two plain lines about the same family
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


class Display:
    def __init__(self, console: Console | None = None) -> None:
        self.console = console or terminal()
        self._began = time.monotonic()
        self._families: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._progress = Progress(
            TextColumn("  {task.description:9}"),
            BarColumn(24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def say(self, text: str) -> None:
        at = f"{time.monotonic() - self._began:6.1f} s  "
        self.console.print(Text.assemble((at, "dim"), visible(text)), soft_wrap=True)

    def stage_end(self, name: str, seconds: float, reused: bool) -> None:
        self.say(f"{name}: {REUSED if reused else f'{seconds:.1f} s'}")

    # --- the search -------------------------------------------------------------------------

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def family_start(self, family: str, trials: int, seconds: float) -> None:
        with self._lock:
            bar = self._progress.add_task(family, total=trials, note="starting")
            now = time.monotonic()
            self._families[family] = {
                "bar": bar,
                "trials": trials,
                "seconds": seconds,
                "began": now,
                "spoke": now,
            }

    def family_stage(self, family: str, name: str) -> None:
        with self._lock:
            state = self._families[family]
            if name == "tuning":
                state["began"] = time.monotonic()
            self._progress.update(state["bar"], note=name)
            if not self.console.is_terminal and name != "tuning":
                self.say(f"{family}: {name}")

    def trial(self, family: str, event: dict[str, Any]) -> None:
        """Show a finished trial: how many, the best so far, and about how long the search will
        still take."""
        with self._lock:
            state = self._families[family]
            done, now = event["number"] + 1, time.monotonic()
            best = "none yet" if event["best"] is None else f"{event['best']:.4f}"
            spent = now - state["began"]
            left = min(spent / done * (state["trials"] - done), max(state["seconds"] - spent, 0))
            note = f"best recalibrated log loss {best}, about {left:.0f} s left"
            self._progress.update(TaskID(state["bar"]), completed=done, note=note)
            if not self.console.is_terminal and (
                now - state["spoke"] > EVERY or done == state["trials"]
            ):
                state["spoke"] = now
                self.say(f"{family}: trial {done}/{state['trials']}, {note}")

    def family_end(self, family: str, loss: float, reused: bool) -> None:
        with self._lock:
            state = self._families[family]
            self._progress.update(TaskID(state["bar"]), note=f"recalibrated log loss {loss:.4f}")
            self._progress.stop_task(TaskID(state["bar"]))
            how = REUSED if reused else f"{time.monotonic() - state['began']:.1f} s"
            self.say(f"{family}: recalibrated log loss {loss:.4f}, {how}")


# --- at the end -----------------------------------------------------------------------------------


def print_summary(
    console: Console, summary: dict[str, Any], settings: Settings, folder: Path
) -> None:
    """Print the table of results, the decision with its reasons, and what to type next."""
    rows, split, model = summary["rows"], summary["table"], summary["model"]
    positive = "positive" if summary["source"] == "table" else "buy again"
    parts = [
        f"{n} {c:,} ({split['positive_rate'][n]:.1%} {positive})" for n, c in split["rows"].items()
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
    """Return lines about the values of a table that are not among their columns' categories."""
    columns = sorted(
        (name for name, values in unseen.items() if values["unseen"]),
        key=lambda name: -unseen[name]["share"],
    )
    heads = ["Other", *[""] * len(columns)]
    lines = [in_words(name, unseen[name]) for name in columns[:UNSEEN]]
    if columns[UNSEEN:]:
        lines.append(f"and {len(columns) - UNSEEN} more columns; all of them: contract.html")
    return list(zip(heads, lines, strict=False))


def _against_a_champion(summary: dict[str, Any]) -> bool:
    """Whether there was a champion: then the gate has judged a rule about it."""
    rules = {rule["rule"] for rule in summary["decision"]["rules"]}
    return not rules.isdisjoint({"better", "unscorable"})


def _scores(summary: dict[str, Any]) -> Table:
    """Make the table of the families by validation, with test figures, baseline and oracle."""
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
