"""Features of a few customers in one statement: the files of `features/sql/`, run within a request.

Training runs the files one after the other, each making a table (`features/engine.py`). For one
customer that is 44 ms, nearly all of it planning and tables. Here the same statements become the
parts of one SELECT, `WITH moments AS (…), order_parts AS (…), …`, which is prepared once. No value
is computed by other SQL than in training, so the rows are the same to the last bit
(`tests/features/test_online.py`).

It reads the relations `transactions` (canonical columns) and `as_of_dates` (as_of DATE): parts of
the same WITH that come before, or tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from configs.settings import Features
from features import engine
from features.catalogue import CATALOGUE, Feature

STATEMENT = re.compile(r"\s*CREATE OR REPLACE TEMP (TABLE|VIEW) (\w+) AS\s+(.*)", re.DOTALL)
# One pass, whatever the number of rows: a request has a few.
ONE_PASS = {"first_row": "1", "last_row": str(2**31 - 1)}


def select_features(
    settings: Features, log_start: date, features: Sequence[Feature] = CATALOGUE
) -> str:
    """SELECT of row_id, customer_id, as_of and the features, of the customers who bought in the
    `active_days` before an as-of date: the spine of training."""
    plan = engine.plan(features)
    files = (plan.log, "spine", *plan.questions, plan.asked)
    parts = {"log_start": ("TABLE", engine.select_log_start(log_start))}
    for name in files:
        for kind, relation, body in statements(name):
            parts.pop(relation, None)  # `asked` begins empty and is filled by a later file
            parts[relation] = (kind, body)
    # A view is text until it is read, so it may come before what it reads: `past_products` reads
    # `asked`, which the last file makes.
    ordered = sorted(parts.items(), key=lambda part: part[1][0] == "VIEW")
    text = ",\n".join(
        f"{relation} AS {'MATERIALIZED' if kind == 'TABLE' else 'NOT MATERIALIZED'} ({body})"
        for relation, (kind, body) in ordered
    )
    return _with_values(f"WITH {text}\n{plan.answers}", settings)


def statements(name: str) -> list[tuple[str, str, str]]:
    """TABLE or VIEW, name and SELECT of each statement of one SQL file, in their order."""
    text = re.sub(r"--.*", "", engine.read(name))
    found = [STATEMENT.fullmatch(each) for each in text.split(";") if each.strip()]
    if None in found:
        raise ValueError(f"features/sql/{name}.sql: each statement must be {STATEMENT.pattern}")
    return [match.groups() for match in found if match]  # type: ignore[misc]


def _with_values(text: str, settings: Features) -> str:
    """Settings in place of `getvariable('…')`: with a variable in it, a prepared statement is
    planned again at every execution."""
    values = engine.variables(settings) | ONE_PASS
    return re.sub(r"getvariable\('(\w+)'\)", lambda found: values[found[1]], text)
