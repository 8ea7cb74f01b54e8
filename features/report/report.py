"""The data report of a run as one page that needs nothing else: no script, no font, no network.

Everything is counted inside DuckDB within `compute.memory_mb`. Nothing in the page tells the time
or the place it was made, so the same data gives the same bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from common.duck import connect
from common.terminal import on_page
from configs.settings import Compute
from features.catalogue import CATALOGUE
from features.report import charts
from features.report.association import associations, reach_of, signed_bars
from features.report.distributions import curve, distributions
from features.report.log import Log, read_log
from features.report.plot import sparkline
from features.report.quarantine import Quarantine, example_rows, read_quarantine
from features.report.table import SAMPLE, Table, read_table, target_rate

FOLDER = Path(__file__).parent
LONGEST_CELL = 80  # characters of a value in an example
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
        quarantine = read_quarantine(connection, validated / "quarantine.parquet", log.buckets)
        learnt = read_table(connection, table)
    ranked = associations(learnt)
    page = _render(
        title=title,
        log=log,
        quarantine=quarantine,
        table=learnt,
        why=_why(validated / "contract.json"),
        ranked=signed_bars(ranked),
        reach=reach_of(ranked),
        curves=[curve(found) for found in distributions(learnt, ranked)],
    )
    unfinished = target.with_name(f".{target.name}.unfinished")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(target)


def _render(
    log: Log, quarantine: Quarantine, table: Table, curves: list[dict[str, Any]], **context: Any
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=on_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": "{:,.0f}".format,
        "percent": percent,
        "cell": cell,
        "end": end_of_rail,
    }
    lines, lines_note = charts.lines_over_time(log, quarantine)
    revenue, revenue_note = charts.revenue_over_time(log)
    months, years, months_note = charts.monthly_index(log)
    hours, heat, busiest = charts.hours_heat(log)
    return environment.get_template("data_report.html.jinja").render(
        **context,
        log=log,
        quarantine=quarantine,
        table=table,
        curves=curves,
        charts={
            "lines": lines,
            "revenue": revenue,
            "months": months,
            "target": target_rate(table.as_of, log.buckets.first, log.buckets.last),
        },
        notes={"lines": lines_note, "revenue": revenue_note, "months": months_note},
        chapters=[(a, name) for a, name in CHAPTERS.items() if curves or a != "distributions"],
        years=years,
        hours=hours,
        heat=heat,
        busiest=busiest,
        lacking=[(name, s) for name, s in table.missing.items() if max(s.values(), default=0) > 0],
        split_names={"train": "train", "valid": "validation", "test": "test"},
        sparkline=sparkline,
        meaning=defaultdict(str, {feature.name: feature.meaning for feature in CATALOGUE}),
        examples=example_rows(quarantine),
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


def end_of_rail(value: float) -> str:
    """.2 or 1: an end of a rail of ROC AUC."""
    return f"{value:.1f}".lstrip("0").replace("1.0", "1").replace(".0", "0")


def percent(part: int, whole: int) -> str:
    """The share, with enough digits that a few rows of a million do not read as none."""
    share = 100 * part / max(whole, 1)
    if share == 0:
        return "–"
    return f"{share:.1f} %" if share >= 0.1 else f"{share:.1g} %" if share >= 0.001 else "< 0.001 %"


def cell(value: Any) -> str:
    """A value of a row as a person reads it."""
    match value:
        case None | []:
            return "–"
        case list():
            return ", ".join(str(part)[:LONGEST_CELL] for part in value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case float():
            return f"{value:,.2f}"
        case int():
            return f"{value:,}"
    text = str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
