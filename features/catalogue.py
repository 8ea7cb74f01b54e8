"""Every feature, described once: name, unit, meaning, range, and whether it may be missing.

The order here is the order of the columns everywhere: in the training table, in the model's input
and in the service's schema. `docs/features.md` is generated from this list (`make docs`). A group
is a file of `features/sql/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from configs.source import CANONICAL

WINDOWS = (30, 60, 90, 180, 365)
ALL = frozenset(CANONICAL)  # what a source declares that has every column


@dataclass(frozen=True)
class Feature:
    name: str
    unit: str
    meaning: str
    low: float | None = 0.0
    high: float | None = None
    missing: str = ""  # when it may be missing; empty: never
    categories: tuple[str, ...] = ()  # of a feature that is held as codes: features/categories.py

    @property
    def needs(self) -> frozenset[str]:
        """Columns a log must have for this feature, besides customer, time and amount."""
        return NEEDS.get(self.name, frozenset())


def select(declared: Iterable[str] = ALL) -> tuple[Feature, ...]:
    """The features of a source with these columns (`settings.source.declared`), in order."""
    have = frozenset(declared)
    return tuple(feature for feature in CATALOGUE if feature.needs <= have)


def _money(name: str, meaning: str, missing: str = "") -> Feature:
    return Feature(name, "currency", meaning, missing=missing)


ONE_DAY = "only one purchase day so far"
TWO_DAYS = "fewer than three purchase days so far"
SHORT_LOG = "the log does not reach back that far"

GROUPS: dict[str, tuple[Feature, ...]] = {
    "recency": (
        Feature("recency_days", "days", "from the last purchase to the as-of date", low=1),
        Feature("tenure_days", "days", "from the first purchase to the as-of date", low=1),
    ),
    "windows": (
        *(
            Feature(f"orders_{days}d", "invoices", f"invoices begun in the last {days} days")
            for days in WINDOWS
        ),
        Feature("orders_total", "invoices", "invoices so far", low=1),
        *(
            _money(f"revenue_{days}d", f"value of the invoices begun in the last {days} days")
            for days in WINDOWS
        ),
        _money("revenue_total", "value of all sales lines so far"),
        _money("order_value_mean", "mean value of an invoice"),
        _money("order_value_last", "value of the last invoice"),
        Feature(
            "active_months_365d",
            "months",
            "calendar months in which an invoice of the last 365 days began",
            high=13,
        ),
    ),
    "gaps": (
        Feature("gap_days_mean", "days", "mean gap between purchase days", missing=ONE_DAY),
        Feature("gap_days_median", "days", "median gap between purchase days", missing=ONE_DAY),
        Feature("gap_days_spread", "days", "standard deviation of the gaps", missing=TWO_DAYS),
        Feature("gap_days_last", "days", "the last gap between purchase days", missing=ONE_DAY),
        Feature(
            "overdue_ratio", "ratio", "recency over the mean gap: above 1 is late", missing=ONE_DAY
        ),
    ),
    "alive": (
        Feature(
            "buy_probability",
            "probability",
            "BG/NBD score (parameters of the published CDNOW log): ranks customers, is not a"
            " calibrated probability",
            high=1,
        ),
    ),
    "variety": (
        Feature("products_365d", "products", "distinct products of the last 365 days"),
        Feature("products_total", "products", "distinct products so far", low=1),
    ),
    "baskets": (
        Feature("lines_per_order", "lines", "sales lines per invoice", low=1),
        Feature("units_per_line", "units", "mean quantity of a sales line", low=1),
        _money("unit_price_mean", "mean price paid per unit"),
    ),
    "cancellations": (
        Feature("cancelled_lines_365d", "lines", "cancelled lines in the last 365 days"),
        Feature("cancelled_share", "ratio", "value cancelled over value sold, so far"),
    ),
    "country": (
        Feature(
            "is_home",
            "0 or 1",
            "the last purchase that names a country came from the home country",
            high=1,
        ),
    ),
    "season": (
        Feature(
            "season_orders",
            "invoices",
            "invoices begun in the same season last year: the horizon, 365 days earlier",
            missing=SHORT_LOG,
        ),
        _money("season_revenue", "value of the invoices begun in that season", missing=SHORT_LOG),
        Feature(
            "year_sin", "ratio", "sine of the day of the year of the as-of date", low=-1, high=1
        ),
        Feature(
            "year_cos", "ratio", "cosine of the day of the year of the as-of date", low=-1, high=1
        ),
    ),
}

# A log without these columns has no such features. Without invoices, a customer's lines of one day
# are one invoice, so what counts invoices stays.
NEEDS: dict[str, frozenset[str]] = {
    "products_365d": frozenset({"product_id"}),
    "products_total": frozenset({"product_id"}),
    "lines_per_order": frozenset({"invoice_id"}),
    "units_per_line": frozenset({"quantity"}),
    "unit_price_mean": frozenset({"quantity"}),
    "is_home": frozenset({"country"}),
}

CATALOGUE: tuple[Feature, ...] = tuple(
    feature for members in GROUPS.values() for feature in members
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)

# The features that say the time of the year, as a sine and a cosine: calibration by season.
SEASON: tuple[str, str] = ("year_sin", "year_cos")

# The groups of customers whose figures are shown and judged one by one: feature -> (name of the
# slice, lowest, highest value), both ends included.
SLICES: dict[str, tuple[tuple[str, float, float], ...]] = {
    "is_home": (("home country", 1, 1), ("abroad", 0, 0)),
    "tenure_days": (
        ("tenure up to 90 days", 0, 90),
        ("tenure 91 to 365 days", 91, 365),
        ("tenure above 365 days", 366, inf),
    ),
    "recency_days": (
        ("recency up to 30 days", 0, 30),
        ("recency 31 to 90 days", 31, 90),
        ("recency 91 to 180 days", 91, 180),
        ("recency above 180 days", 181, inf),
    ),
    "orders_365d": (
        ("no order in 365 days", 0, 0),
        ("1 order in 365 days", 1, 1),
        ("2 to 3 orders in 365 days", 2, 3),
        ("4 to 9 orders in 365 days", 4, 9),
        ("10 or more orders in 365 days", 10, inf),
    ),
}


def slices(names: Iterable[str]) -> dict[str, tuple[tuple[str, float, float], ...]]:
    """The slices of rows with these features; none of a labelled table, whose columns are not of
    the catalogue."""
    have = set(names)
    if not have <= set(NAMES):
        return {}
    return {name: bands for name, bands in SLICES.items() if name in have}
