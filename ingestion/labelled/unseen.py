"""Count values of a labelled table that are not among their column's categories ("other" to every
model).

A few are rare values that the settings leave out on purpose. Many, or many more than in the batch
before, mean that the file spells its categories in another way than the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.duck import literal
from common.spelling import recognised
from configs.table import Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

UNSEEN = ("unseen_share", "unseen_change")  # measures of the contract
ENOUGH = 100  # values of a file, of which the share is taken as it is: that of fewer may be chance
SURE = (
    4.0  # standard errors: of fewer values it is the least that the share may be (Wilson's bound)
)
EXAMPLES, SHOWN = 5, 40  # texts that are kept of a column, and characters of each
NAMED = 5  # columns in a message


def count_unseen(connection: DuckDBPyConnection, table: Table) -> dict[str, dict[str, Any]]:
    """For each category column, of the valid rows of the table `judged`: values (that are there),
    unseen (how many are not among the categories), texts (how many different ones), examples (the
    most frequent), file and share: where the share of the unseen is largest, among the files and
    all of them together (""); at_least: it is the least that the share of few values may be."""
    counts = {}
    for place, (name, column) in enumerate(table.columns.items()):
        if column.type == "category":
            query = f"SELECT source, v{place} AS text FROM judged WHERE len(reasons) = 0"
            counts[name] = _of_column(
                connection, f"({query}) WHERE text IS NOT NULL", column.values
            )
    return counts


def _of_column(
    connection: DuckDBPyConnection, relation: str, categories: tuple[str, ...]
) -> dict[str, Any]:
    """Count the unseen values of a column. relation: SQL, with `source` and `text`."""
    texts = connection.execute(
        f"SELECT text, count(*) FROM {relation} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    known = recognised((text for text, _ in texts), categories)
    unseen = [(text, rows) for text, rows in texts if text not in known]
    values, count = sum(rows for _, rows in texts), sum(rows for _, rows in unseen)
    file, share, at_least = "", count / values if values else 0.0, False
    if unseen:
        listed = f"AND text NOT IN ({', '.join(map(literal, known))})" if known else ""
        z = SURE
        least = f"(p + {z**2} / 2 / n - {z} * sqrt(p * (1 - p) / n + {(z / 2) ** 2} / n / n))"
        worst = connection.execute(f"""
            SELECT source, CASE WHEN n < {ENOUGH} THEN {least} / (1 + {z**2} / n) ELSE p END,
                   n < {ENOUGH}
            FROM (SELECT source, count(*) AS n, count(*) FILTER (true {listed}) / n AS p
                  FROM {relation} GROUP BY 1) ORDER BY 2 DESC, 1 LIMIT 1
        """).fetchall()
        file, share, at_least = max([(file, share, False), *worst], key=lambda part: part[1])
    return {
        "values": values,
        "unseen": count,
        "texts": len(unseen),
        "examples": [text[:SHOWN] for text, _ in unseen[:EXAMPLES]],
        "file": file,
        "share": share,
        "at_least": at_least,
    }


def unseen_changes(now: dict[str, Any], then: dict[str, Any]) -> dict[str, float | None]:
    """Compute the measures `unseen_share` and `unseen_change` of `ingestion/contract.py`.

    now, then: levels of batches (`describe`); `then` is empty without a batch to compare with."""
    return {
        name: max(shares.values(), default=None) for name, shares in _by_column(now, then).items()
    }


def describe(unseen: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the level of a batch, which is recorded and compared with that of the next."""
    return {"unseen": unseen}


def which_columns(
    measure: str, high: float | None, now: dict[str, Any], then: dict[str, Any]
) -> str:
    """Describe the columns above the limit, the worst first, each with its share and examples."""
    shares = _by_column(now, then)[measure]
    worst = sorted(
        (name for name, share in shares.items() if high is None or share > high),
        key=lambda name: -shares[name],
    )
    phrases = [in_words(name, now["unseen"][name]) for name in worst[:NAMED]]
    return "; ".join(phrases) + (f"; and {len(worst) - NAMED} more" if worst[NAMED:] else "")


def in_words(name: str, counts: dict[str, Any]) -> str:
    """Write `column plan: 34.0% of the values are not among its categories ('Monthly', 'Yearly' and
    3 more)`: of the file with the largest share, or of all files."""
    examples, more = counts["examples"][:3], counts["texts"] - len(counts["examples"][:3])
    texts = ", ".join(map(repr, examples)) + (f" and {more:,} more" if more > 0 else "")
    file = f" of {counts['file']}" if counts["file"] else ""
    least = "at least " if counts.get("at_least") else ""  # an earlier version did not say it
    return (
        f"column {name[:SHOWN]}: {least}{counts['share']:.1%} of the values{file} are not among"
        f" its categories ({texts})"
    )


def _by_column(now: dict[str, Any], then: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return measure -> column -> figure. A column that the last batch lacks is not compared."""
    ours, theirs = now["unseen"], then.get("unseen") or {}
    return {
        "unseen_share": {name: counts["share"] for name, counts in ours.items()},
        "unseen_change": {
            name: counts["share"] - theirs[name]["share"]
            for name, counts in ours.items()
            if name in theirs
        },
    }
