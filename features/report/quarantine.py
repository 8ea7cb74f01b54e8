"""The figures of the quarantine: rows by reason, when they came, and a few of each to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.duck import parquet, quoted
from configs.source import CANONICAL
from features.report.log import Buckets, column_names, rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EXAMPLES = 3  # rows shown per reason


@dataclass(frozen=True)
class Reason:
    code: str
    rows: int
    alone: int  # rows with no other reason: what would come back if this one rule went
    by_bucket: list[float]
    untimed: int  # rows without a time
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Quarantine:
    rows: int
    by_bucket: list[float]
    elsewhere: int  # rows without a time, or with one outside the picture
    reasons: list[Reason]  # the most frequent first
    unreadable: dict[str, int]  # column -> values that do not read as its type


def read_quarantine(connection: DuckDBPyConnection, file: Path, buckets: Buckets) -> Quarantine:
    source = parquet(file)
    in_all: Counter[date | None] = Counter()
    count_of: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    in_bucket: dict[str, Counter[date | None]] = {}
    found = rows(
        connection,
        f"SELECT {buckets.of('invoiced_at')}, reasons, count(*) FROM {source} GROUP BY ALL",
    )
    for bucket, reasons, count in found:
        in_all[bucket] += count
        for reason in reasons or ():
            count_of[reason] += count
            in_bucket.setdefault(reason, Counter())[bucket] += count
            if len(reasons) == 1:
                alone[reason] += count
    examples = _examples(connection, file) if count_of else {}
    by_bucket = buckets.spread(in_all)
    return Quarantine(
        rows=in_all.total(),
        by_bucket=by_bucket,
        elsewhere=in_all.total() - int(sum(by_bucket)),
        reasons=[
            Reason(
                code=code,
                rows=count_of[code],
                alone=alone[code],
                by_bucket=buckets.spread(in_bucket[code]),
                untimed=in_bucket[code].get(None, 0),
                examples=examples[code],
            )
            for code in sorted(count_of, key=lambda code: (-count_of[code], code))
        ],
        unreadable=_unreadable(connection, source),
    )


def _unreadable(connection: DuckDBPyConnection, source: str) -> dict[str, int]:
    """A value that cannot be read sends its row to quarantine, so that is where they all are."""
    if "unreadable" not in column_names(connection, source):
        return {}
    values = f"SELECT unnest(unreadable) AS value FROM {source}"
    return dict(
        rows(connection, f"SELECT split_part(value, '=', 1), count(*) FROM ({values}) GROUP BY ALL")
    )


def _examples(connection: DuckDBPyConnection, file: Path) -> dict[str, list[dict[str, Any]]]:
    """A few rows per reason: those with the fewest other reasons, chosen by a hash, because
    neighbours are all alike."""
    numbered = f"{parquet(file).removesuffix(')')}, file_row_number = true)"
    chosen = rows(
        connection,
        f"""
        SELECT reason, min_by(place, preference, {EXAMPLES}) FROM (
            SELECT unnest(reasons) AS reason, file_row_number AS place,
                   (CAST(least(len(reasons), 100) AS UBIGINT) << 56)
                   | (hash(file_row_number) >> 8) AS preference
            FROM {numbered}
        ) GROUP BY reason
        """,
    )
    places = ", ".join(str(place) for place in sorted({p for _, found in chosen for p in found}))
    held = column_names(connection, parquet(file))
    shown = [n for n in ("source", "source_row", "reasons", *CANONICAL, "unreadable") if n in held]
    found = rows(
        connection,
        f"SELECT file_row_number, {', '.join(map(quoted, shown))} FROM {numbered}"
        f" WHERE file_row_number IN ({places})",
    )
    row_at = {place: dict(zip(shown, values, strict=True)) for place, *values in found}
    return {reason: [row_at[place] for place in sorted(places)] for reason, places in chosen}


def example_rows(quarantine: Quarantine) -> dict[str, Any]:
    """The example rows by reason. A column that is empty in all of them is left out, and so is a
    source that is the same everywhere."""
    groups = [
        (
            reason.code,
            [
                row | {"also": [other for other in row["reasons"] if other != reason.code]}
                for row in reason.examples
            ],
        )
        for reason in quarantine.reasons
    ]
    rows = [row for _, group in groups for row in group]
    sources = {row.get("source") for row in rows}
    names = [name for name in (rows[0] if rows else ()) if name != "reasons"]
    if len(sources) == 1 and "source" in names:
        names.remove("source")
    return {
        "most": EXAMPLES,
        "source": sources.pop() if len(sources) == 1 else None,
        "columns": [name for name in names if any(row[name] not in (None, []) for row in rows)],
        "groups": groups,
    }
