"""Every sensor, described once: what it means, what an alarm of it stands for, and its limits.

The order here is the order everywhere. The limits were chosen on simulated shops of the seeds 1000
to 1199, and accepted on others (`make bench-monitoring`, docs/monitoring.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.facts import VerdictName


@dataclass(frozen=True)
class Sensor:
    """What a sensor means, and its limits.

    verdict: what an alarm stands for.  unit: of value, expected and sd.  c: limit of |z|.
    floor: least standard deviation between months.  least: n below it is too few to judge.
    of: what n counts.  needs: columns, of each group one.  own_past: compares with the months
    before, which after some months of a change hold it themselves.
    """

    meaning: str
    verdict: VerdictName
    unit: str
    c: float
    floor: float
    least: int
    of: str
    needs: tuple[tuple[str, ...], ...] = ()
    own_past: bool = False


SENSORS = {
    "price": Sensor(
        meaning="unit prices beside those of the same products in their last six months: mean log"
        " ratio over products, without the tenth at either end",
        verdict="broken data",
        unit="log ratio",
        c=6.0,
        floor=0.005,
        least=50,
        of="lines",
        needs=(("product_id",), ("unit_price", "amount"), ("unit_price", "quantity")),
        own_past=True,
    ),
    "unit": Sensor(
        meaning="share of lines with more than six times their product's usual quantity, which is"
        " its geometric mean in its last six months",
        verdict="broken data",
        unit="share of lines",
        c=5.0,
        floor=0.003,
        least=200,
        of="lines",
        needs=(("product_id",), ("quantity",)),
        own_past=True,
    ),
    "anonymous": Sensor(
        meaning="share of invoices that name no customer, of those whose lines are valid otherwise",
        verdict="broken data",
        unit="share of invoices",
        c=5.0,
        floor=0.005,
        least=50,
        of="invoices",
    ),
    "abroad": Sensor(
        meaning="share of new customers (of this month's first invoice) who live abroad",
        verdict="changed demand",
        unit="share of new customers",
        c=4.8,
        floor=0.01,
        least=20,
        of="new customers",
        needs=(("country",),),
    ),
    "invoices": Sensor(
        meaning="invoices, with and without a customer, beside the same month of last year with"
        " this month's weekdays: log ratio, against the usual ratio",
        verdict="changed demand",
        unit="log ratio",
        c=3.5,
        floor=0.01,
        least=50,
        of="invoices",
    ),
}
