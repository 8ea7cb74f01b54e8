"""The data report of a run as one page that needs nothing else: no script, no font, no network.

Everything is counted inside DuckDB within `compute.memory_mb`. Nothing in the page tells the time
or the place it was made, so the same data gives the same bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from configs.duck import connect
from configs.settings import Compute
from features.catalogue import CATALOGUE
from features.report import charts
from features.report.association import associations, distributions
from features.report.log import Log, read_log
from features.report.season import hours_heat, monthly_index
from features.report.table import SAMPLE, Table, read_table
from features.report.views import cell, curve, example_rows, percent, signed_bars

FOLDER = Path(__file__).parent
HEADINGS = {
    "source_row": "row",
    "invoice_id": "invoice",
    "product_id": "product",
    "unit_price": "unit price",
    "invoiced_at": "time",
    "customer_id": "customer",
    "also": "other reasons",
}
CHAPTERS = {
    "volumes": "Volumes",
    "missing": "Missing values",
    "quarantine": "Quarantine",
    "season": "Season",
    "target": "Target",
    "features": "Features",
    "distributions": "Distributions",
    "gaps": "Missing features",
}


def write_data_report(
    parts: list[Path], validated: Path, table: Path, target: Path, *, title: str, compute: Compute
) -> None:
    """Write the report to `target`.

    parts: raw rows in canonical form (Parquet).  validated: the folder with transactions.parquet,
    quarantine.parquet and contract.json.  table: the training table.
    """
    with connect(target.parent, compute) as connection:
        log = read_log(connection, parts, validated)
        learnt = read_table(connection, table)
    ranked = associations(learnt)
    page = _render(
        title=title,
        log=log,
        table=learnt,
        why=_why(validated / "contract.json"),
        ranked=signed_bars(ranked),
        curves=[curve(found) for found in distributions(learnt, ranked)],
    )
    unfinished = target.with_name(f".{target.name}.unfinished")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(target)


def _render(log: Log, table: Table, curves: list[dict[str, Any]], **context: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": "{:,.0f}".format, "percent": percent, "cell": cell}
    months, years = monthly_index(log)
    hours, heat, busiest = hours_heat(log)
    return environment.get_template("data_report.html.jinja").render(
        **context,
        log=log,
        table=table,
        curves=curves,
        charts={
            "lines": charts.lines_over_time(log),
            "revenue": charts.revenue_over_time(log),
            "months": months,
            "target": charts.target_rate(table.as_of, log.first, log.last),
        },
        chapters=[(a, name) for a, name in CHAPTERS.items() if curves or a != "distributions"],
        years=years,
        hours=hours,
        heat=heat,
        busiest=busiest,
        lacking=[(name, s) for name, s in table.missing.items() if max(s.values(), default=0) > 0],
        split_names={"train": "train", "valid": "validation", "test": "test"},
        sparkline=charts.sparkline,
        meaning=defaultdict(str, {feature.name: feature.meaning for feature in CATALOGUE}),
        examples=example_rows(log.quarantine),
        sample=SAMPLE,
        numeric=("source_row", "quantity", "unit_price"),
        long=("source", "description", "country", "also", "unreadable"),
        headings=HEADINGS,
    )


def _why(contract: Path) -> dict[str, str]:
    """Reason -> why the rule exists. The page does without, should the file be of another form."""
    try:
        findings = json.loads(contract.read_text(encoding="utf-8"))["findings"]
        return defaultdict(str, {str(f["code"]): str(f.get("why", "")) for f in findings})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return defaultdict(str)
