"""Rows from whichever source the settings name, as parts in canonical form.

Files: `files.expand` and `files.read_file`, a part for each. Databases: `database.read_new`.
Labelled tables: `labelled/read.py`. Simulated: `simulation/part.py`.
"""

from __future__ import annotations

from datetime import date, timedelta

from configs.source import Source
from ingestion.files import expand


def check_source(source: Source) -> None:
    """Raises UserError for a source that cannot be read, as far as that can be known without
    reading it: asked before anything is started."""
    if source.kind == "files":
        expand(source)
    elif source.kind == "table":
        from ingestion.labelled.read import check_table

        check_table(source)
    elif source.kind == "database":
        from ingestion.database import check_database

        check_database(source)


def last_day(source: Source) -> date | None:
    """The last day that a row can honestly carry, where the source knows it."""
    if source.kind == "simulated":
        return source.simulation.start + timedelta(days=source.simulation.days - 1)
    return None
