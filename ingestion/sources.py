"""Is there a source to read, before anything is started: its files, its settings, its last day.

`files` reads what `expand` finds, `labelled/read.py` the files of a labelled table,
`database` a table or a query, and `simulator/simulator.py` makes a log up.
"""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

from common.errors import UserError
from configs.source import Source, Text
from ingestion import text as texts
from ingestion.mapping import check_mapping, check_time_format
from ingestion.text import check_text

log = logging.getLogger("golden_path")
SUFFIXES = (".parquet", ".xlsx", *texts.SUFFIXES)
# What a file begins with that is not text, whatever its name says -> what it is, what to do.
NOT_TEXT = {
    b"\x1f\x8b": ("gzip data", "rename it to end in .gz, as in log.csv.gz"),
    b"PAR1\x15": ("Parquet", "rename it to end in .parquet"),
    b"PK\x03\x04": ("a ZIP archive or a workbook", "unpack it, or rename it to end in .xlsx"),
    b"\x28\xb5\x2f\xfd": ("Zstandard data", "unpack it"),
    b"BZh91AY": ("bzip2 data", "unpack it"),
    b"\xfd7zXZ": ("xz data", "unpack it"),
    b"\xd0\xcf\x11\xe0": ("a workbook of the old kind (.xls)", "save it as .xlsx, or as CSV"),
}
SHOWN = ", ".join(suffix for suffix in SUFFIXES if not suffix.endswith(".gz")) + ", text also .gz"


def check_source(source: Source) -> None:
    """Raises UserError for a source that cannot be read, as far as that can be known without
    reading it: called before anything is started."""
    if source.kind == "files":
        expand(source)
    elif source.kind == "table":
        check_table(source)
    elif source.kind == "database":
        from ingestion.database import check_database

        check_database(source)


def last_day(source: Source) -> date | None:
    """The last day that a row can honestly carry, where the source knows it."""
    if source.kind == "simulated":
        return source.simulation.start + timedelta(days=source.simulation.days - 1)
    return None


def expand(source: Source) -> list[Path]:
    """The files of `source.path`, each once: those of a pattern in the order of their names.

    Raises UserError for what is missing, a folder, empty or of another kind, for a pattern that
    matches nothing, and for a mapping or text settings that no file could satisfy. It reads
    nothing, so it is cheap enough to be called before anything is started.
    """
    if not source.path:
        raise UserError(
            f"source.kind is {source.kind}, but no file is named",
            where="source.path",
            next_step="pass --source.path FILE",
        )
    check_mapping(source)
    check_text(source.text)
    check_time_format(source.time_format)
    files: dict[Path, Path] = {}
    for place in source.path:
        for path in _matches(place):
            files.setdefault(check_file(path, source.text).resolve(), path)
    return list(files.values())


def labels(paths: list[Path]) -> list[str]:
    """For each file the shortest end of its path that no other has: `jan.csv`, or `a/jan.csv` and
    `b/jan.csv`. What quarantine and its page say of a row's file."""
    parts = [path.absolute().parts for path in paths]
    labels = [str(path) for path in paths]
    waiting = list(range(len(paths)))
    for depth in range(1, max(map(len, parts), default=0) + 1):
        ends = Counter(each[-depth:] for each in parts)
        for at in waiting:
            labels[at] = "/".join(parts[at][-depth:]).replace("//", "/")
        waiting = [at for at in waiting if ends[parts[at][-depth:]] > 1]
    return labels


def check_file(path: Path, text: Text) -> Path:
    """The path, once it is known to be a file of a kind that is read."""
    if path.name.startswith("~$") and path.is_file():
        raise UserError(
            f"{path.name!r} is a file that Excel keeps while a workbook is open",
            where=f"source.path = {path}",
            next_step="close the workbook; if it is closed, delete that file",
        )
    if not path.exists():
        leads = " (a link that leads nowhere)" if path.is_symlink() else ""
        raise UserError(
            f"the file {path.name!r} does not exist{leads}",
            where=f"source.path = {path}",
            next_step="pass --source.path FILE, or run on simulated data: make train",
        )
    known = path.name.lower().endswith(SUFFIXES) or text.any_suffix
    if not path.is_file() or not known:
        kind = f"a file of kind {path.suffix!r}" if path.is_file() else "not a regular file"
        kind = "a folder" if path.is_dir() else kind
        step = "if it is text, pass --source.text.any_suffix true; else " * path.is_file()
        raise UserError(
            f"{path.name!r} is {kind}; the files that can be read are named {SHOWN}",
            where=f"source.path = {path}",
            next_step=f"{step}convert it, or name other files: --source.path 'FOLDER/*.csv'",
        )
    if path.stat().st_size == 0:
        raise UserError(
            f"the file {path.name!r} is empty (0 bytes)",
            where=f"source.path = {path}",
            next_step="fetch it again",
        )
    if not path.name.lower().endswith((".parquet", ".xlsx", ".gz")):
        with path.open("rb") as file:
            start = file.read(8)
        for begun, (what, step) in NOT_TEXT.items():
            if start.startswith(begun):
                raise UserError(
                    f"the file {path.name!r} is {what}, not text",
                    where=f"source.path = {path}",
                    next_step=step,
                )
    return path


def _matches(place: str) -> list[Path]:
    """The file of that name; where there is none and the name holds * or ?, those that match."""
    brackets = re.sub(r"\[", "[[]", place)  # brackets are part of a name, never of a pattern
    pattern = brackets if set("*?") & set(place) else ""
    matches = sorted(glob.glob(pattern, recursive=True)) if pattern else []  # noqa: PTH207
    if Path(place).exists() or not pattern:
        if len(matches) > 1:
            log.warning(
                "source.path: %r is the name of a file, and only that file is read; as a pattern it"
                " would match %d more files",
                *(place, len(matches) - 1),
            )
        return [Path(place)]
    if not matches:
        raise UserError(
            f"no file matches {place!r}",
            where="source.path",
            next_step=f"see what is there: ls {Path(place).parent}; in a shell, quote the pattern",
        )
    return [Path(path) for path in matches]


def check_table(source: Source) -> None:
    """Raises UserError for files that are not there, and for a table without target or features."""
    expand(source)
    table = source.table
    for name, value in (("target", table.target), ("positive", table.positive)):
        if value is None:
            raise UserError(
                f"the table has no {name}: which column is predicted, and which of its two values",
                where=f"source.table.{name}",
                next_step="let the settings be drafted: make adopt DATA=FILE TARGET=COLUMN",
            )
    if not table.columns:
        raise UserError(
            "the table has no features",
            where="source.table.columns",
            next_step="let them be drafted: make adopt DATA=FILE TARGET=COLUMN",
        )
