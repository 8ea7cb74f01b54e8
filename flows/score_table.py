"""The rows of a file, for a champion of a labelled table: `make score DATA=new.csv`.

The file is read and judged as in training, but needs no target, and columns that are neither a
feature nor the identifier are passed over. What a feature may hold is the champion's: its bundle
has the categories and the bounds.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from common.duck import connect, literal, parquet, quoted
from common.errors import UserError
from configs.make_command import make
from configs.settings import Settings
from configs.table import Column, Table
from features.catalogue import Feature
from flows import data_stages
from flows.kept_scores import FEATURES, Scores, open_champion, score_once, scores_folder
from ingestion.outcome import QUARANTINE, TRANSACTIONS, ContractBroken
from ingestion.sources import check_source, expand, labels
from registry.bundle import Bundle
from serving.batch import MARK, as_cell

LEFT_OUT = "left_out.csv"
UNSEEN = 0.01  # share of unknown categories from which a note reports it


@dataclass(frozen=True)
class Rows:
    """rows: how many can be scored.  digest: of their features.  files: that they are from.
    no_rows: what to raise where there are none."""

    rows: int
    digest: str
    files: tuple[str, ...]
    notes: tuple[str, ...]
    no_rows: UserError


def reading(settings: Settings, data: str | None, as_of: str | None) -> Settings:
    """Return the settings with this file, or pattern, as their source. Raises UserError."""
    if settings.source.kind != "table":
        raise UserError(
            f"DATA is for labelled tables, and the source of {settings.name} is"
            f" {settings.source.kind}: a log is scored as of a day",
            where="DATA",
            next_step=f"{make('score', settings, AS_OF='2026-05-01')}, or name the preset of a"
            " table: CONFIG=",
        )
    if as_of is not None:
        raise UserError(
            "a table has no days: its rows are scored as they are",
            where="AS_OF",
            next_step=make("score", settings, DATA=data or "new.csv"),
        )
    if not data:
        raise UserError(
            "no file is named whose rows are to be scored",
            where="DATA",
            next_step=make("score", settings, DATA="new.csv"),
        )
    path = Path(data)
    with suppress(RuntimeError):  # no such user, or no HOME
        path = path.expanduser()  # make hands ~ over as it stands
    if not path.exists() and not set("*?") & set(data):
        raise UserError(
            f"the file {path.name!r} does not exist",
            where=f"DATA = {path}",
            next_step=make("score", settings, DATA="new.csv"),
        )
    source = settings.source.model_copy(update={"path": (str(path),)})
    check_source(source)
    return settings.model_copy(update={"source": source})


def score_rows(settings: Settings) -> Scores:
    """Score the rows of `source.path` with the champion of a labelled table.

    settings: of `reading`. Raises UserError as `score_log` does, and where no row of the file is
    valid.
    """
    version, bundle = open_champion(settings)
    folder = scores_folder(settings)
    features = folder / FEATURES
    folder.mkdir(parents=True, exist_ok=True)
    try:
        rows = make_features(settings, bundle, folder, features)

        def take(target: Path) -> int:
            features.rename(target)
            return rows.rows

        key = {"as_of": None, "data_sha256": rows.digest, "source": rows.files}
        scores = score_once(
            settings,
            version,
            bundle,
            folder / f"data={rows.digest[:12]}",
            key,
            take,
            rows.no_rows,
            called="row" if settings.source.table.id is None else "id",
        )
    finally:
        features.unlink(missing_ok=True)
    return replace(scores, notes=(*rows.notes, *scores.notes))


def make_features(settings: Settings, bundle: Bundle, folder: Path, target: Path) -> Rows:
    """Write the features of the file's valid rows to `target`, and the other rows, with the
    reasons, to `left_out.csv` in `folder`. Raises UserError for a file that is not understood."""
    from features.score_rows import digest_of_rows, rows_of_table
    from ingestion.labelled.validate import validate_table

    table = table_of(bundle, settings.source.table)
    source = settings.source.model_copy(update={"table": table})
    settings = settings.model_copy(update={"source": source})
    parts, left_out = data_stages.ingest(settings), folder / LEFT_OUT
    judged = folder / ".judged"
    shutil.rmtree(judged, ignore_errors=True)
    judged.mkdir()
    try:
        outcome = validate_table(
            parts.paths, judged, source, settings.contract, compute=settings.compute
        )
        _write_left_out(judged, left_out)
        features = features_of(bundle)
        rows = rows_of_table(judged / TRANSACTIONS, target, features, settings.compute)
    except ContractBroken as error:
        _write_left_out(judged, left_out)
        raise UserError(
            error.what,
            where=f"DATA = {', '.join(source.path)}",
            next_step=f"look at the rows and the reasons: {left_out}",
        ) from None
    finally:
        shutil.rmtree(judged, ignore_errors=True)
    counts = outcome.rows
    notes = []
    if counts.quarantined:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.reasons.items())
        shown = settings.var / left_out.relative_to(settings.var.absolute())
        notes.append(
            f"{counts.quarantined:,} of {counts.raw:,} rows are not scored ({reasons}): {shown}"
        )
    for name, column in outcome.level.get("unseen", {}).items():
        share = column["unseen"] / max(column["values"], 1)
        if share >= UNSEEN:
            notes.append(
                f"{name}: {share:.1%} of the values are none of the champion's categories"
                f" ({', '.join(column['examples'])}): they count as other"
            )
    digest = digest_of_rows(target, settings.compute)
    no_rows = UserError("no row of the file can be scored", where="DATA", next_step=str(left_out))
    return Rows(rows, digest, tuple(labels(expand(source))), tuple(notes), no_rows)


def table_of(bundle: Bundle, table: Table) -> Table:
    """Return the table to read: identifier and form of the settings, features of the champion, no
    target.

    Two rows of one group may be scored, whatever the split of the training was.
    """
    columns = {}
    for feature in features_of(bundle):
        columns[feature.name] = Column(
            type="category" if feature.categories else "number",
            values=feature.categories,
            low=None if feature.categories else feature.low,
            high=None if feature.categories else feature.high,
            missing=bool(feature.missing),
        )
    missing = bundle.description.get("source_form", {}).get("missing_values", ())
    return Table(id=table.id, columns=columns, missing_values=tuple(missing))


def features_of(bundle: Bundle) -> tuple[Feature, ...]:
    """Return the champion's features, in its order."""
    return tuple(
        Feature(**{**feature, "categories": tuple(feature.get("categories") or ())})
        for feature in bundle.features
    )


def _write_left_out(judged: Path, target: Path) -> None:
    """Write the rows in quarantine for people: file, row, reasons, and the values that were not
    read."""
    target.unlink(missing_ok=True)
    reasons, unreadable = (
        f"list_aggregate({name}, 'string_agg', '; ')" for name in ("reasons", "unreadable")
    )
    with connect() as connection:
        connection.execute(f"""
            COPY (
                SELECT {as_cell("source")} AS {quoted(MARK + "file")}, source_row AS row,
                       {reasons} AS reasons, {as_cell(unreadable)} AS unreadable
                FROM {parquet(judged / QUARANTINE)} ORDER BY source, source_row
            ) TO {literal(target)} (FORMAT csv, HEADER)
        """)
