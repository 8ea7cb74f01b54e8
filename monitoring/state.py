"""Keep the results of each month: facts in Parquet, the verdict, and what both were made from.

    baseline/v1.json              the frozen baseline of the sensors
    facts/<kind>/month=….parquet  readings, performance, estimates, drift, quality
    verdicts/month=….json         the verdict, its inputs, and the SHA-256 of its facts

All of it is written under temporary names and renamed. A verdict or a fact that was altered is
reported and made again: everything but the baseline can be computed again from the log and the
scores.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from common.files import RecordAltered, read_record, write_bytes, write_record
from monitoring.facts import Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class Judged:
    """A month that was judged. inputs: what it was made from, JSON values; facts: path below the
    folder -> SHA-256."""

    verdict: Verdict
    inputs: dict[str, Any]
    facts: dict[str, str]

    def has(self, kind: str) -> bool:
        """Whether the verdict is based on facts of this kind."""
        return path_of(kind, self.verdict.month) in self.facts


@dataclass(frozen=True)
class Altered:
    """A verdict that is not used, as it or its facts were altered. month: of its name, None where
    that is not a month's; text: a sentence without its end."""

    month: str | None
    file: Path
    text: str


def write_facts(folder: Path, kind: str, month: str, of: type[T], values: Iterable[T]) -> str:
    """Write facts of one kind as Parquet, a column for each field of the dataclass; returns the
    SHA-256. The same facts give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(value) for value in values]  # type: ignore[call-overload]
    schema = _schema(of)
    table = pa.Table.from_pylist(rows, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(folder / path_of(kind, month), buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def read_facts(folder: Path, kind: str, of: type[T], months: Iterable[str]) -> list[T]:
    """Read the facts of one kind of these months, those that exist, in order. Of facts that an
    earlier version of the project wrote, columns that the dataclass does not have are left out, and
    one value where it has a tuple is a tuple of one."""
    import pyarrow.parquet as pq

    facts: list[T] = []
    names = {field.name for field in fields(of)}  # type: ignore[arg-type]
    tuples = {name for name, hint in get_type_hints(of).items() if get_origin(hint) is tuple}
    for month in months:
        file = folder / path_of(kind, month)
        if file.exists():
            for row in pq.read_table(file, partitioning=None).to_pylist():
                row = {name: value for name, value in _tuples(row).items() if name in names}
                single = {n: (v,) for n, v in row.items() if n in tuples and isinstance(v, str)}
                facts.append(of(**(row | single)))
    return facts


def facts_of(folder: Path, judged: Iterable[Judged], kind: str, of: type[T]) -> list[T]:
    """Read the facts of one kind that these verdicts are based on, in order: of a month whose rows
    are held there are few, whatever was measured of it before."""
    months = [one.verdict.month for one in judged if one.has(kind)]
    return read_facts(folder, kind, of, months)


def path_of(kind: str, month: str) -> str:
    return f"facts/{kind}/month={month}.parquet"


def write_judged(folder: Path, judged: Judged) -> None:
    write_record(
        folder / "verdicts" / f"month={judged.verdict.month}.json",
        {"verdict": asdict(judged.verdict), "inputs": judged.inputs, "facts": judged.facts},
    )


def read_judged(folder: Path) -> tuple[list[Judged], list[Altered]]:
    """Read the months that were judged and are intact, in order; and those whose verdict or facts
    were altered, also by a command that was killed between the two."""
    intact, altered = [], []
    for file in sorted((folder / "verdicts").glob("month=*.json")):
        named = re.fullmatch(r"month=(\d{4}-(?:0[1-9]|1[0-2]))\.json", file.name)
        month = named.group(1) if named else None
        try:
            record = read_record(file)
            verdict = Verdict(**_tuples(record["verdict"]))
            judged = Judged(verdict, dict(record["inputs"]), dict(record["facts"]))
            if month != verdict.month:
                raise RecordAltered(f"it is the verdict of {verdict.month}")
        except (RecordAltered, TypeError, LookupError, ValueError) as error:
            altered.append(Altered(month, file, f"{file} was altered: {error}"))
            continue
        damaged = [name for name, sha in judged.facts.items() if _sha256(folder / name) != sha]
        if damaged:
            text = f"{folder / damaged[0]} is not what the verdict of {month} was made from"
            altered.append(Altered(month, file, text))
            continue
        intact.append(judged)
    return intact, altered


def changed_months(judged: Sequence[Judged], now: Mapping[str, str]) -> list[str]:
    """List the months whose rows are not those that were judged, or are gone. now: month -> its
    digest, of a log that reaches at least as far as they do."""
    then: dict[str, str] = {}
    for one in judged:
        then |= one.inputs.get("months", {})
    return sorted(month for month, digest in then.items() if now.get(month) != digest)


def baselines(folder: Path) -> list[dict[str, Any]]:
    """Read the frozen baselines, the oldest first: `version`, `since` (the first month it judges),
    `reason`, `made_from` and `sensors`. Raises RecordAltered for one that was altered: it
    cannot be computed again from the log alone."""
    records = []
    for file in (folder / "baseline").glob("v*.json"):
        try:
            records.append(read_record(file))
        except RecordAltered as error:
            raise RecordAltered(f"{file}: {error}") from None
    return sorted(records, key=lambda baseline: baseline["version"])


def baseline_for(frozen: Sequence[dict[str, Any]], month: str) -> dict[str, Any] | None:
    """Find the newest baseline that judges this month."""
    return next((one for one in reversed(frozen) if one["since"] <= month), None)


def write_baseline(folder: Path, content: dict[str, Any]) -> None:
    write_record(folder / "baseline" / f"v{content['version']}.json", content)


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}


def _schema(of: type) -> Any:
    """Make the Arrow schema of a dataclass of plain values."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    hints = get_type_hints(of)

    def kind(hint: Any) -> Any:
        parts = [part for part in getattr(hint, "__args__", ()) if part is not type(None)]
        if hint in kinds:
            return kinds[hint]
        if getattr(hint, "__origin__", None) is tuple:
            return pa.list_(kinds[parts[0]])
        if parts and all(isinstance(part, str) for part in parts):  # a Literal
            return pa.string()
        return kind(parts[0])

    return pa.schema([(field.name, kind(hints[field.name])) for field in fields(of)])
