"""What `make score` says at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from configs.command import make
from configs.duck import connect, parquet
from configs.settings import Settings
from configs.terminal import console, facts
from flows.kept_scores import Scores
from serving.batch import CSV, PARQUET


@contextmanager
def heard() -> Iterator[list[str]]:
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


def tell(scores: Scores, settings: Settings, warnings: list[str]) -> None:
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
    folder = settings.var / scores.folder.relative_to(settings.var.absolute())
    for head, text in (
        ("List", str(folder / CSV)),
        ("Programs", str(folder / PARQUET)),
        *([("Next", make("monitor", settings))] if of_log else []),
    ):
        shown.print(f"[bold]{head:9}[/] ", end="")
        shown.print(text, soft_wrap=True, markup=False)
