"""Source `files`: Parquet, text (gzipped too) and XLSX, through a column mapping."""

from __future__ import annotations

import glob
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb

from configs.duck import connect, literal
from configs.errors import UserError
from configs.settings import Compute
from configs.source import Source
from ingestion.canonical import select_canonical
from ingestion.formats import SUFFIXES, explained, opened
from ingestion.mapping import check_mapping, check_time_format, map_columns
from ingestion.text import check_text, mixed_ends

log = logging.getLogger("golden_path")


def expand(source: Source) -> list[Path]:
    """The files of `source.path`, each once: globs in the order of their names.

    Raises UserError for what is missing, a folder, empty or of another kind, for a glob that
    matches nothing, and for a mapping or text settings that no file could satisfy. It reads
    nothing, so it is cheap enough to be asked before anything is started.
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
            files.setdefault(check_file(path).resolve(), path)
    return list(files.values())


def labels(paths: list[Path]) -> list[str]:
    """For each file the shortest end of its path that no other has: `jan.csv`, or `a/jan.csv` and
    `b/jan.csv`. What quarantine and its page say of a row's file."""
    parts = [path.absolute().parts for path in paths]
    found = [str(path) for path in paths]
    waiting = list(range(len(paths)))
    for depth in range(1, max(map(len, parts), default=0) + 1):
        ends = Counter(each[-depth:] for each in parts)
        for at in waiting:
            found[at] = "/".join(parts[at][-depth:]).replace("//", "/")
        waiting = [at for at in waiting if ends[parts[at][-depth:]] > 1]
    return found


def read_file(
    source: Source, path: Path, target: Path, compute: Compute, *, label: str | None = None
) -> None:
    """Write the rows of a file to `target` in canonical form; see `ingestion/canonical.py`.

    label: what `source` says of the rows (see `labels`); none: the file's name. Raises UserError
    for a file that is missing, empty, of another format, truncated or damaged, not in its encoding,
    for a declared column that it lacks or that holds lists, structs or booleans; OSError for a disk
    that is full. Then `target` is what it was before.
    """
    check_mapping(source)
    check_text(source.text)
    check_time_format(source.time_format)
    write_whole(
        source,
        path,
        target,
        lambda file, even: _copy(source, path, file, compute, label or path.name, even),
    )


def write_whole(
    source: Source, path: Path, target: Path, copy: Callable[[Path, bool], None]
) -> None:
    """Write `target` by `copy(file, even_ends)`, which reads `path`: aside, then renamed. What goes
    wrong is told as it concerns the file; a text file of mixed line ends is tried again."""
    check_file(path)
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        with explained(path, source.text):
            try:
                copy(unfinished, False)
            except duckdb.InvalidInputException as error:
                if not mixed_ends(error):
                    raise
                log.info("%s: its lines end in different ways, and are read as if alike", path)
                copy(unfinished, True)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy(
    source: Source, path: Path, target: Path, compute: Compute, label: str, even_ends: bool
) -> None:
    wanted, folder = [source.columns.get(name, name) for name in source.declared], target.parent
    with (
        connect(folder, compute, ordered=True) as connection,
        opened(connection, path, source.text, wanted, folder, even_ends=even_ends) as file,
    ):
        mapping = map_columns(source, file.types, f"source.path = {path}", file.hint)
        query = select_canonical(
            file.relation,
            mapping,
            file.types,
            source.time_format,
            source=label,
            number=file.number,
            text=file.text,
            times=file.times.get(mapping["invoiced_at"]),
        )
        connection.execute(f"COPY ({query}) TO {literal(target)} (FORMAT parquet)")


def check_file(path: Path) -> Path:
    """The path, once it is known to be a file of a kind that is read."""
    if not path.exists():
        raise UserError(
            f"the file {path.name!r} does not exist",
            where=f"source.path = {path}",
            next_step="pass --source.path FILE, or run on simulated data: make train",
        )
    if path.is_dir() or not path.name.lower().endswith(SUFFIXES):
        kind = "a folder" if path.is_dir() else f"a file of kind {path.suffix!r}"
        raise UserError(
            f"{path.name!r} is {kind}; what is read are files named {', '.join(SUFFIXES)}",
            where=f"source.path = {path}",
            next_step="convert it, or name other files: --source.path 'FOLDER/*.csv'",
        )
    if path.stat().st_size == 0:
        raise UserError(
            f"the file {path.name!r} is empty (0 bytes)",
            where=f"source.path = {path}",
            next_step="fetch it again",
        )
    return path


def _matches(place: str) -> list[Path]:
    if Path(place).exists() or not glob.has_magic(place):  # a name may hold brackets
        return [Path(place)]
    found = sorted(glob.glob(place, recursive=True))  # noqa: PTH207  (of any folder, and without)
    if not found:
        raise UserError(
            f"no file matches {place!r}",
            where="source.path",
            next_step=f"see what is there: ls {Path(place).parent}; in a shell, quote the pattern",
        )
    return [Path(path) for path in found]
