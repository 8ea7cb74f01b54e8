"""Print what `make score` made, and what to type next."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.duck import connect, parquet
from common.terminal import console, facts, short
from configs.command import make
from configs.settings import Settings
from flows.kept_scores import Scores
from serving.batch import CSV, PARQUET

if TYPE_CHECKING:
    from rich.table import Table


FIRST = 10  # rows of the list that are printed


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """The warnings that are logged meanwhile, such as a file that was sent twice: this command has
    no log of its own."""
    found: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            found.append(record.getMessage())
        return True

    logger = logging.getLogger("golden_path")
    logger.addFilter(hear)
    try:
        yield found
    finally:
        logger.removeFilter(hear)


def print_scores(scores: Scores, settings: Settings, warnings: list[str]) -> None:
    """Print what was scored, and what to type next. warnings: of what was read on the way."""
    record, shown = scores.record, console()
    with connect() as connection:
        expected, contacts, low, high, decided = connection.execute(f"""
            SELECT sum(probability), count(*) FILTER (decision), min(probability),
                   max(probability), count(decision)
            FROM {parquet(scores.folder / PARQUET)}
        """).fetchall()[0]
    of_log, table = record["as_of"] is not None, settings.source.table
    what = f"customers as of {record['as_of']}" if of_log else "rows"
    likely = (
        f"buy within {settings.features.horizon_days} days"
        if of_log
        else f"have {table.target} = {table.positive}"
    )
    shown.print(
        facts(
            *(("Note", note) for note in (*warnings, *scores.notes)),
            (
                "Scores",
                f"{record['rows']:,} {what}: {'found' if scores.reused else 'made'}"
                + ("" if scores.official else ", beside the official ones"),
            ),
            ("Champion", f"{record['model']} version {record['version']}"),
            ("Expected", f"{expected:,.0f} {likely} ({expected / record['rows']:.1%})"),
            ("", f"probabilities from {low:.3f} to {high:.3f}"),
            (
                "Decision",
                f"contact {contacts:,}"
                if decided
                else "none: training.contact_cost and training.sale_value are not set",
            ),
        )
    )
    shown.print()
    shown.print(_first(scores, "customer" if of_log else "row"))
    shown.print()
    folder = settings.var / scores.folder.relative_to(settings.var.absolute())
    for head, text in (
        ("List", str(folder / CSV)),
        ("Programs", str(folder / PARQUET)),
        *([("Next", make("monitor", settings))] if of_log else []),
    ):
        shown.print(f"[bold]{head:9}[/] ", end="")
        shown.print(text, soft_wrap=True, markup=False)


def _first(scores: Scores, called: str) -> Table:
    """The most probable rows, as the list for people has them."""
    from rich.table import Table

    with connect() as connection:
        rows = connection.execute(f"""
            SELECT customer_id, probability, decision, moved_most, moved_by
            FROM {parquet(scores.folder / PARQUET)}
            ORDER BY probability DESC, customer_id LIMIT {FIRST}
        """).fetchall()
    table = Table(box=None, pad_edge=False)
    table.add_column(called)
    table.add_column("probability", justify="right")
    decided = any(row[2] is not None for row in rows)
    if decided:
        table.add_column("decision")
    table.add_column("what moved it most")
    for name, probability, decision, feature, by in rows:
        moved = "" if feature is None else f"{short(feature, 30)} ({by:+.3f})"
        what = ["contact" if decision else "leave"] if decided else []
        table.add_row(short(name, 24), f"{probability:.3f}", *what, moved)
    return table
