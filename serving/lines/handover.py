"""Values from Python to a prepared statement of DuckDB, as Arrow.

Two traps lie on the way. A table that is registered anew makes DuckDB plan its statements again: so
a `Sent` is registered once, and its content changes. And DuckDB's `register`, as well as `pa.array`
and `Schema.empty_table`, import pandas to know whether they were handed some of it: half a second
and 40 MB for a service that has no use for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KINDS = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "DOUBLE": pa.float64(), "DATE": pa.date32()}
NUMPY = {"BIGINT": np.int64, "DOUBLE": np.float64, "DATE": np.int32}  # a date: days from 1970


class Sent:
    """An Arrow table that changes under a view that does not. DuckDB asks for the stream anew at
    each execution, and plans nothing again, because the columns stay the same."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """columns: name -> DuckDB type."""
        self.schema = pa.schema({name: KINDS[kind] for name, kind in columns.items()})
        self.table = self._empty = pa.Table.from_batches([], self.schema)

    def fill(self, columns: Mapping[str, pa.Array]) -> None:
        self.table = pa.Table.from_arrays(
            [columns[name] for name in self.schema.names], schema=self.schema
        )

    def clear(self) -> None:
        self.table = self._empty

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def register(connection: DuckDBPyConnection, name: str, table: Sent) -> None:
    """A view of the table. pandas is hidden meanwhile, unless it is there anyway."""
    hidden = "pandas" not in sys.modules
    if hidden:
        sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        connection.register(name, table)
    finally:
        if hidden:
            del sys.modules["pandas"]


def arrow(kind: str, values: Sequence[Any]) -> pa.Array:
    """Values of a DuckDB type of KINDS as Arrow; None is null."""
    if kind == "VARCHAR":
        builder = pa.lib.StringBuilder()
        builder.append_values(values)
        return builder.finish()
    filled = [0 if value is None else value for value in values]
    there = None if None not in values else [value is not None for value in values]
    return from_numpy(kind, np.array(filled, dtype=NUMPY[kind]), there)


def from_numpy(kind: str, values: np.ndarray, there: Sequence[bool] | None = None) -> pa.Array:
    """Whole numbers or doubles as Arrow, without a copy. there: of each, whether it is a value."""
    bits = None if there is None else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(KINDS[kind], len(values), [bits, pa.py_buffer(values)])
