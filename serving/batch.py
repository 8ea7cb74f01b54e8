"""Everybody's score at one as-of date, from the champion's bundle: the monthly list.

The same graph as the service asks, on features that the same SQL made: the answers are equal. Rows
pass through in batches, so memory does not grow with the customers. Two files come of it:

    part.parquet   customer_id, as_of, probability, decision, decile, moved_most, moved_by,
                   version, bundle_sha256; sorted by customer
    scores.csv     for people, the most probable first: UTF-8 with a byte order mark, without which
                   Excel reads other letters; a text that it would run as a formula stands behind '

The same bundle and features give the same bytes.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from common.duck import connect, literal, parquet, quoted
from common.errors import UserError
from configs.settings import Compute
from features.categories import decode
from registry.bundle import Bundle

ROWS = 8192  # in a batch: a network holds some hundred values of each feature of each row
WORKERS = 4  # batches at once, whatever the cores
PARQUET, CSV = "part.parquet", "scores.csv"
DECILES = 10
FORMULA = "^[=+@\\t\\r\\n＝＋－＠-]"  # OWASP, CSV injection
MARK = chr(0xFEFF)


def score(
    bundle: Bundle,
    features: Path,
    folder: Path,
    *,
    version: int,
    explained: int,
    compute: Compute | None = None,
    called: str = "customer",
) -> int:
    """Write both files into `folder`; returns the number of rows.

    features: Parquet with `customer_id`, `as_of` and the features of the bundle.  explained: for
    how many of the most probable customers the value is named that moved the score most.  called:
    the name of the first column of the CSV.  Decile 1 holds the most probable tenth. Raises
    ValueError where a feature of the bundle is missing, UserError where the model has no
    probability for a row.
    """
    compute = compute or Compute()
    answers = folder / ".answers.parquet"
    try:
        rows = _write_probabilities(bundle, features, answers, compute)
        with connect(folder, compute) as connection:
            connection.execute(f"""
                CREATE TABLE ranked AS
                SELECT customer_id, as_of, probability,
                       row_number() OVER (ORDER BY probability DESC, customer_id) AS place
                FROM {parquet(answers)}
            """)
            top = connection.sql(
                f"SELECT customer_id, place FROM ranked WHERE place <= {explained} ORDER BY place"
            ).to_arrow_table()
            connection.register("explained", _explain(bundle, features, top, compute, folder))
            threshold = bundle.threshold
            decision = "NULL" if threshold is None else f"probability >= {threshold!r}"
            connection.execute(f"""
                CREATE TABLE scores AS
                SELECT customer_id, as_of, probability, CAST({decision} AS BOOLEAN) AS decision,
                       CAST(1 + (place - 1) * {DECILES} // {max(rows, 1)} AS TINYINT) AS decile,
                       moved_most, moved_by, CAST({version} AS INTEGER) AS version,
                       {literal(bundle.sha256)} AS bundle_sha256, place
                FROM ranked LEFT JOIN explained USING (place)
            """)
            connection.execute(f"""
                COPY (SELECT * EXCLUDE (place) FROM scores ORDER BY customer_id, place)
                TO {literal(folder / PARQUET)} (FORMAT parquet, ROW_GROUP_SIZE 122880)
            """)
            connection.execute(f"""
                COPY (
                    SELECT {as_cell("customer_id")} AS {quoted(MARK + called)},
                           printf('%.4f', probability) AS probability,
                           CASE decision WHEN true THEN 'contact' WHEN false THEN 'leave' END
                               AS decision,
                           decile,
                           {as_cell("moved_most || printf(' (%+.3f)', moved_by)")} AS moved_most
                    FROM scores ORDER BY place
                ) TO {literal(folder / CSV)} (FORMAT csv, HEADER)
            """)
    finally:
        answers.unlink(missing_ok=True)
    return rows


def as_cell(text: str) -> str:
    """SQL of a text that a spreadsheet does not run as a formula."""
    return (
        f"CASE WHEN regexp_matches({text}, {literal(FORMULA)}) THEN chr(39) ELSE '' END || {text}"
    )


def _write_probabilities(bundle: Bundle, features: Path, target: Path, compute: Compute) -> int:
    """Write customer_id, as_of and probability of every row, in the order of the file.

    Several batches at once, each on one core: with several cores to one batch, ONNX Runtime adds up
    the trees of a row in another order, and the last digits would depend on the machine.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, rows = [feature["name"] for feature in bundle.features], 0
    schema = pa.schema(
        [("customer_id", pa.string()), ("as_of", pa.date32()), ("probability", pa.float64())]
    )
    workers = min(compute.threads or os.cpu_count() or 1, WORKERS)
    with (
        pq.ParquetFile(features) as file,
        pq.ParquetWriter(target, schema) as writer,
        ThreadPoolExecutor(workers) as pool,
    ):
        if missing := [name for name in names if name not in file.schema_arrow.names]:
            raise ValueError(f"the features have no {', '.join(missing)}")
        batches = file.iter_batches(ROWS, columns=["customer_id", "as_of", *names])
        while some := list(islice(batches, workers)):
            answers = pool.map(lambda batch: bundle.predict(_matrix(batch, names)), some)
            for batch, probability in zip(some, answers, strict=True):
                _check(bundle, batch["customer_id"], probability)
                columns = [batch["customer_id"], batch["as_of"].cast(pa.date32()), probability]
                writer.write_table(pa.table(columns, schema=schema))
                rows += batch.num_rows
    return rows


def _check(bundle: Bundle, customers: Any, probability: np.ndarray) -> None:
    wrong = np.flatnonzero(~((probability >= 0) & (probability <= 1)))
    if len(wrong):
        at = int(wrong[0])
        raise UserError(
            f"the model has no probability for {customers[at].as_py()!r}: it answers"
            f" {probability[at]}",
            where=str(bundle.folder),
            next_step="look at that customer's rows; or go back to another version: make rollback",
        )


def _matrix(batch: Any, names: list[str]) -> np.ndarray:
    """The features of an Arrow batch as the model takes them: float32 (n, f), NaN where missing."""
    x = np.empty((batch.num_rows, len(names)), dtype=np.float32)
    for place, name in enumerate(names):
        x[:, place] = batch[name].to_numpy(zero_copy_only=False)
    return x


def _explain(bundle: Bundle, features: Path, top: Any, compute: Compute, folder: Path) -> Any:
    """An Arrow table of place, moved_most and moved_by for the customers of `top`.

    For each feature the customer's value is exchanged for that of the typical reference customer
    (the median; of a category the most frequent), and the probability computed anew: the feature
    whose exchange changes it most is named, with what the customer's own value adds. One exchange
    a feature, where `/explain` samples thousands: the list is for sorting and calling, not for
    adding up.
    """
    import pyarrow as pa

    empty = {"place": pa.int64(), "moved_most": pa.string(), "moved_by": pa.float64()}
    typical = typical_row(bundle)
    if typical is None or not top.num_rows:
        return pa.table({name: pa.array([], kind) for name, kind in empty.items()})
    names = [feature["name"] for feature in bundle.features]
    columns = ", ".join(f"CAST({quoted(name)} AS FLOAT) AS {quoted(name)}" for name in names)
    with connect(folder, compute) as connection:
        connection.register("top", top)
        selected: Any = connection.sql(
            f"SELECT place, {columns} FROM {parquet(features)} JOIN top USING (customer_id)"
            " ORDER BY place"
        ).to_arrow_table()
    places, texts, by = selected["place"].to_numpy(), [], []
    step = max(1, ROWS // (len(names) + 1))
    for start in range(0, selected.num_rows, step):
        x = _matrix(selected.slice(start, step).combine_chunks(), names)
        for row, feature, change in zip(x, *largest_change(bundle, x, typical), strict=True):
            value = decode(float(row[feature]), bundle.features[feature])
            shown = (
                "missing" if value is None else value if isinstance(value, str) else f"{value:g}"
            )
            texts.append(f"{names[feature]} {shown}")
            by.append(round(float(change), 6))
    return pa.table({"place": places, "moved_most": texts, "moved_by": by})


def typical_row(bundle: Bundle) -> np.ndarray | None:
    """A reference customer, float32 (f,): of each feature the median, of a category the most
    frequent, missing where most are. None for a bundle without reference rows."""
    rows = np.array(bundle.examples.get("reference") or [], dtype=np.float32)
    if not len(rows):
        return None
    typical = np.full(rows.shape[1], np.nan, dtype=np.float32)
    for place, feature in enumerate(bundle.features):
        known = rows[~np.isnan(rows[:, place]), place]
        if 2 * len(known) < len(rows):
            continue
        values, counts = np.unique(known, return_counts=True)
        typical[place] = (
            values[counts.argmax()]
            if feature.get("categories")
            else np.quantile(known, 0.5, method="lower")  # a value that somebody has
        )
    return typical


def largest_change(
    bundle: Bundle, x: np.ndarray, typical: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For rows float32 (n, f): which feature's exchange for the typical value changes the
    probability most, int (n,), and what the row's own value adds to it, float64 (n,)."""
    n, f = x.shape
    exchanged = np.repeat(x[:, None, :], f, axis=1)  # (n, f, f)
    exchanged[:, np.arange(f), np.arange(f)] = typical
    changed = bundle.predict(exchanged.reshape(n * f, f)).reshape(n, f)
    added = bundle.predict(x)[:, None] - changed
    feature = np.abs(added).argmax(axis=1)
    return feature, added[np.arange(n), feature]
