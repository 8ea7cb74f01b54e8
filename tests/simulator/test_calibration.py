"""A simulated log beside Online Retail II: the figures, how far apart they may be, and where not.

Figures of the published log stand here as they were counted on it: quantiles, concentration,
repurchase and seasons.
"""

from __future__ import annotations

from datetime import date

import duckdb
import pytest

from configs.source import Simulation
from simulator.simulator import simulate

pytestmark = pytest.mark.slow

# The published log's customers, products, days and lines per invoice; all else by default.
SHOP = Simulation(
    customers=5_900, products=4_900, start=date(2009, 12, 1), days=739, lines_per_invoice=21.5
)
PRODUCT = r"regexp_full_match(upper(trim(product_id)), '\d{5}[A-Z]{0,2}')"
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
NAMES = ("p1", "p5", "p25", "p50", "p75", "p95", "p99", "p99.9", "mean")
# Most relative distance of each; whole numbers may also differ by one.
REACH = (0.4, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.4, 0.15)

# What is counted: name -> (published, SQL of the values, whole numbers).  Sales: no cancellation,
# quantity and price above 0, of a product. `known` are those of a customer, `nobody` the others.
QUANTILES: dict[str, tuple[tuple[float, ...], str, bool]] = {
    "quantity of a line, known": (
        (1, 1, 2, 5, 12, 36, 128, 576, 13.4), "select quantity from known", True,
    ),
    "quantity of a line, nobody": (
        (1, 1, 1, 1, 2, 9, 27, 126, 3.04), "select quantity from nobody", True,
    ),
    "unit price": (
        (0.29, 0.42, 1.25, 2.10, 4.13, 9.95, 16.95, 34.95, 3.33),
        "select unit_price from sales", False,
    ),
    "lines per invoice, known": (
        (1, 1, 7, 15, 28, 64, 109, 198, 21.5), "select lines from invoices", True,
    ),
    "lines per invoice, nobody": (
        (1, 1, 3, 20, 120, 339, 566, 721, 77.6),
        "select count(*) from nobody group by invoice_id", True,
    ),
    "invoice value, known": (
        (8.5, 38, 160, 303, 475, 1222, 3528, 14183, 468), "select value from invoices", False,
    ),
    "invoices per customer": (
        (1, 1, 1, 3, 7, 20, 46, 159, 6.25), "select invoices from customers", True,
    ),
    "days between purchases": (
        (1, 3, 13, 32, 70, 221, 377, 579, 59.3),
        """from (select date_diff('day', lag(day) over (partition by customer_id order by day), day)
                     as gap
                 from (select distinct customer_id, at_time::date as day from invoices))
           where gap is not null""", True,
    ),
    "products per customer": (
        (1, 4, 19, 45, 103, 281, 503, 1139, 82),
        "select count(distinct product_id) from known group by customer_id", True,
    ),
}  # fmt: skip

# name -> (published, most distance, SQL of the figure)
SHARES: dict[str, tuple[float, float, str]] = {
    "customers with one invoice": (0.276, 0.02, "select avg((invoices = 1)::int) from customers"),
    **{
        f"revenue of the top {100 * top:.0f} % of customers": (page, reach, f"""
            select sum(value) filter (place <= {top}) / sum(value) from (
                select value, row_number() over (order by value desc) / count(*) over () as place
                from customers)""")
        for top, page, reach in ((0.01, 0.318, 0.08), (0.1, 0.638, 0.04), (0.2, 0.771, 0.04))
    },
    **{
        f"lines of the top {100 * top:.0f} % of products": (page, 0.03, f"""
            select sum(n) filter (place <= {top}) / sum(n) from (
                select n, row_number() over (order by n desc) / count(*) over () as place
                from (select count(*) as n from sales group by product_id))""")
        for top, page in ((0.01, 0.109), (0.1, 0.487), (0.2, 0.679))
    },
    "lines without a customer": (
        0.228, 0.02, "select avg((customer_id is null)::int) from log"
    ),
    "lines that cancel": (
        0.0183, 0.003, "select avg((invoice_id ^@ 'C')::int) from log"
    ),
    "customers who cancelled": (0.43, 0.04, """
        select count(distinct customer_id) filter (invoice_id ^@ 'C')
            / count(distinct customer_id) from log"""),
    "sales value cancelled": (0.074, 0.02, """
        select -sum(quantity * unit_price) filter (invoice_id ^@ 'C')
            / (select sum(quantity * unit_price) from sales) from log"""),
    "customers at home": (0.91, 0.02, """
        select count(distinct customer_id) filter (country = 'United Kingdom')
            / count(distinct customer_id) from known"""),
    "revenue from home": (0.856, 0.03, """
        select sum(quantity * unit_price) filter (country = 'United Kingdom')
            / sum(quantity * unit_price) from known"""),
    "log of the unit price, mean": (0.78, 0.05, "select avg(ln(unit_price)) from sales"),
    "log of the unit price, sd": (0.92, 0.05, "select stddev(ln(unit_price)) from sales"),
    "log of the quantity, mean": (1.39, 0.1, "select avg(ln(quantity)) from sales"),
    "log of the quantity, sd": (1.22, 0.1, "select stddev(ln(quantity)) from sales"),
    "log of the invoice value, mean": (5.58, 0.1, "select avg(ln(value)) from invoices"),
    "log of the invoice value, sd": (1.07, 0.1, "select stddev(ln(value)) from invoices"),
    **{
        f"invoices on {day}": (page, 0.01, f"""
            select avg((isodow(at_time) = {number})::int) from invoices""")
        for number, (day, page) in enumerate(
            zip(
                ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
                (0.155, 0.178, 0.180, 0.210, 0.145, 0.001, 0.130),
            ), 1)
    },
    **{
        f"lines of quantity {size}": (page, 0.03, f"""
            select avg((quantity = {size})::int) from known""")
        for size, page in ((1, 0.19), (12, 0.15), (2, 0.15), (6, 0.10), (4, 0.08), (3, 0.07))
    },
    # Second year: the simulated shop begins with few customers, the real one had them.
    **{
        f"revenue of the year to November 2011, {month}": (page / 9637, 0.03, f"""
            select sum(quantity * unit_price)
                filter (date_trunc('month', invoiced_at) = '{month}-01')
                / sum(quantity * unit_price) from sales
            where invoiced_at >= '2010-12-01' and invoiced_at < '2011-12-01'""")
        for month, page in zip(
            ("2010-12", *(f"2011-{number:02d}" for number in range(1, 12))),
            (778, 672, 509, 691, 516, 741, 739, 689, 726, 1031, 1107, 1458),
        )
    },
    **{
        f"customers who came in {begin} and the 2 months after": (page / 5852, 0.03, f"""
            select avg((first >= date '{begin}-01'
                and first < date '{begin}-01' + interval 3 month)::int) from customers""")
        for begin, page in (
            ("2010-03", 990), ("2010-06", 615), ("2010-09", 940), ("2010-12", 273),
            ("2011-03", 396), ("2011-06", 316), ("2011-09", 600),
        )
    },
    **{
        f"buy within {days} days as of {as_of}": (page, 0.04, f"""
            select avg(bought_{days}::int) from asked where as_of = '{as_of}'""")
        for as_of, *pages in (
            ("2010-12-01", 0.191, 0.267, 0.332), ("2011-02-01", 0.160, 0.272, 0.346),
            ("2011-04-01", 0.171, 0.299, 0.378), ("2011-06-01", 0.201, 0.307, 0.366),
            ("2011-08-01", 0.184, 0.328, 0.431), ("2011-09-01", 0.241, 0.380, 0.495),
        )
        for days, page in zip((30, 60, 90), pages)
    },
    **{
        f"active customers as of {as_of}, of 5,852": (page / 5852, 0.06, f"""
            select count(*) / (select count(*) from customers) from asked
            where as_of = '{as_of}'""")
        for as_of, page in (("2010-12-01", 4239), ("2011-06-01", 4324), ("2011-09-01", 4324))
    },
    **{
        f"buy within 90 days, {low} to {high} invoices in the year": (page, 0.04, f"""
            select avg(bought_90::int) from asked where invoices between {low} and {high}""")
        for low, high, page in (
            (1, 1, 0.17), (2, 2, 0.28), (3, 3, 0.38), (4, 5, 0.50), (6, 10, 0.70), (11, 20, 0.89),
            (21, 999, 0.94),
        )
    },
    **{
        f"buy within 90 days, {low} to {high} days since the last": (page, 0.06, f"""
            select avg(bought_90::int) from asked where recency between {low} and {high}""")
        for low, high, page in (
            (0, 7, 0.66), (8, 14, 0.67), (15, 30, 0.60), (31, 60, 0.50), (61, 90, 0.40),
            (91, 120, 0.33), (121, 180, 0.26), (181, 365, 0.18),
        )
    },
}  # fmt: skip

# Where the simulator does not come that near: (name, figure) -> (how far it may be, why).
KNOWN_GAPS = {
    ("invoices per customer", "p99.9"): (
        110, "rates are Gamma, whose tail has no wholesaler who orders every other day"
    ),
    ("invoice value, known", "p1"): (14, "no samples and no corrections of a pound or two"),
    ("sales value cancelled", ""): (
        0.05, "half of it is bookings that are not products: fees, discounts, manual corrections"
    ),
}  # fmt: skip


def prepare(connection: duckdb.DuckDBPyConnection, log: str) -> None:
    """Tables `log`, `sales`, `known`, `nobody`, `invoices`, `customers` and `asked`."""
    dates = ("2010-12-01", "2011-02-01", "2011-04-01", "2011-06-01", "2011-08-01", "2011-09-01")
    connection.execute(f"""
        create table log as {log};
        create table sales as select * replace (upper(trim(product_id)) as product_id) from log
        where not invoice_id ^@ 'C' and quantity > 0 and unit_price > 0 and {PRODUCT}
            and invoiced_at < '2100-01-01';
        create view known as from sales where customer_id is not null;
        create view nobody as from sales where customer_id is null;
        create table invoices as
            select customer_id, invoice_id, min(invoiced_at) as at_time, count(*) as lines,
                sum(quantity * unit_price) as value from known group by all;
        create table customers as
            select customer_id, count(*) as invoices, sum(value) as value, min(at_time) as first
            from invoices group by all;
        create table asked as
            select as_of, customer_id,
                count(*) filter (at_time < as_of and at_time >= as_of - 365) as invoices,
                date_diff('day', max(at_time) filter (at_time < as_of)::date, as_of) as recency,
                {
        ", ".join(
            f'''bool_or(at_time >= as_of and at_time < as_of + {days})
                    as bought_{days}'''
            for days in (30, 60, 90)
        )
    }
            from invoices, (select unnest({list(dates)})::date as as_of)
            group by as_of, customer_id
            having count(*) filter (at_time < as_of and at_time >= as_of - 365) > 0""")


def measure(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], float]:
    """Every figure by name, and by quantile ("" for a share)."""
    figures: dict[tuple[str, str], float] = {}
    for name, (_, values, _) in QUANTILES.items():
        ((quantiles, mean),) = connection.execute(
            f"select quantile_disc(v, {list(LEVELS)}), avg(v) from ({values}) as t(v)"
        ).fetchall()
        figures |= {(name, level): float(v) for level, v in zip(NAMES, (*quantiles, mean))}
    for name, (_, _, figure) in SHARES.items():
        ((value,),) = connection.execute(figure).fetchall()
        figures[name, ""] = value
    return figures


def limits() -> dict[tuple[str, str], tuple[float, float]]:
    """The published figure, and how far from it the simulated one may be."""
    found = {(name, ""): (page, reach) for name, (page, reach, _) in SHARES.items()}
    for name, (pages, _, whole) in QUANTILES.items():
        for level, page, reach in zip(NAMES, pages, REACH):
            atom = 1.0 if whole and level != "mean" else 0.0
            found[name, level] = page, max(reach * page, atom)
    return found


def test_simulated_shop_is_like_the_published_one(tmp_path):
    """But for the known gaps, which are gaps and not larger than documented."""
    with duckdb.connect() as connection:
        raw = simulate(SHOP, 7, tmp_path).raw
        prepare(connection, f"select * from read_parquet('{raw}')")
        figures = measure(connection)
    off = {}
    for key, (page, reach) in limits().items():
        gap, _ = KNOWN_GAPS.get(key, (reach, ""))
        distance = abs(figures[key] - page)
        if distance > gap or (key in KNOWN_GAPS and distance <= reach):
            off[key] = (page, figures[key], reach)
    assert not off


# Each sheet of the published file has the first days of December 2010: those count once.
PUBLISHED_LOG = """
    select * exclude (copies, copy) from (
        select *, count(*) over (partition by all_columns) as copies,
            row_number() over (partition by all_columns) as copy
        from (
            select *, hash(row) as all_columns from (
                select * exclude (source, source_row, unreadable)
                from read_parquet('{rows}')) as row))
    where invoiced_at < '2010-12-01' or invoiced_at >= '2010-12-10' or copy <= ceil(copies / 2)
"""


def test_the_figures_are_those_of_the_published_log(real_log_rows):
    """Measured as the simulated log is: so both are counted alike, and what stands here is true."""
    with duckdb.connect() as connection:
        prepare(connection, PUBLISHED_LOG.format(rows=real_log_rows))
        found = measure(connection)
    off = {
        key: (page, found[key])
        for key, (page, reach) in limits().items()
        if abs(found[key] - page) > 0.65 * KNOWN_GAPS.get(key, (reach,))[0]
    }
    assert not off
