"""Features of a few customers in one statement: the files of `features/sql/`, run within a request.

Training makes a table of each relation, one after the other (`features/engine.py`). For a single
customer that is 44 ms, nearly all of it planning and tables. Here the same SELECTs become the parts
of one, `WITH moments AS (…), order_parts AS (…), …`, which is prepared once. No value is computed
by other SQL than in training, so the rows are the same to the last bit
(`tests/features/test_online.py`).

It reads the relations `transactions` (canonical columns) and `as_of_dates` (as_of DATE): parts of
the same WITH that come before, or tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from configs.settings import Features
from features import engine
from features.catalogue import CATALOGUE, Feature

# One pass, whatever the number of rows: a request has a few.
ONE_PASS = {"first_row": "1", "last_row": str(2**31 - 1)}


def select_features(
    settings: Features, log_start: date, features: Sequence[Feature] = CATALOGUE
) -> str:
    """SELECT of row_id, customer_id, as_of and the features, of the customers who bought in the
    `active_days` before an as-of date: the spine of training."""
    plan = engine.plan(features)
    before = {name: engine.read(f"base/{name}") for name in engine.LOG}
    before["log_start"] = engine.select_log_start(log_start)
    relations = ("spine", *plan.once, *plan.each_pass)
    before |= {name: engine.read(f"base/{name}") for name in relations}
    parts = ",\n".join(
        f"{name} AS {'NOT ' if name in engine.VIEWS else ''}MATERIALIZED (\n{select})"
        for name, select in before.items()
    )
    text = f"WITH {parts}\n{plan.select}"
    # A prepared statement with a variable in it is planned again at every execution.
    for name, value in (engine.variables(settings) | ONE_PASS).items():
        text = text.replace(f"getvariable('{name}')", value)
    return text
