"""What the servers are asked: rows and invoice lines from the bundle's own examples.

The rows are of the validation split, the lines of the sample customers of the last test date; every
server is asked about the same ones, in the shape that it takes.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from registry.bundle import Bundle

Requests = list[dict[str, Any]]  # path, body, times


def rows(bundle: Bundle, count: int) -> list[dict[str, float | None]]:
    names = [feature["name"] for feature in bundle.features]
    reference = bundle.examples["reference"]
    return [dict(zip(names, reference[row % len(reference)], strict=True)) for row in range(count)]


def predict(bundle: Bundle, count: int, path: str = "/predict") -> Requests:
    """Requests of `count` rows: of one row, all reference rows in turn."""
    if count > 1:
        return [_request(path, {"customers": rows(bundle, count)})]
    several = rows(bundle, len(bundle.examples["reference"]))
    return [_request(path, {"customers": [row]}) for row in several]


def invocations(bundle: Bundle, count: int) -> Requests:
    """The same for MLflow's scoring server, in the shortest shape that it takes."""
    names = [feature["name"] for feature in bundle.features]
    reference = bundle.examples["reference"]
    several = [[reference[row % len(reference)] for row in range(count)]]
    if count == 1:
        several = [[row] for row in reference]
    return [
        _request("/invocations", {"dataframe_split": {"columns": names, "data": values}})
        for values in several
    ]


def transactions(bundle: Bundle, customers: int, lines: int) -> Requests:
    samples = bundle.examples["samples"]
    pool = sorted(
        (line for sample in samples for line in sample["lines"]),
        key=lambda line: line["invoiced_at"],
        reverse=True,  # the newest first: nobody is asked about who has not bought for long
    )
    asked = [
        {"customer_id": f"customer {number}", "lines": _lines(pool, lines)}
        for number in range(customers)
    ]
    return [_request("/predict_transactions", {"as_of": samples[0]["as_of"], "customers": asked})]


def explain(bundle: Bundle) -> Requests:
    return [{**one, "path": "/explain"} for one in predict(bundle, 1)]


def refused(bundle: Bundle) -> Requests:
    """Out of range, unknown, no JSON, a customer without a sale, too large."""
    good = rows(bundle, 1)[0]
    name = next(feature["name"] for feature in bundle.features if feature["low"] is not None)
    stranger = transactions(bundle, 1, 1)[0]["body"].replace('"quantity": ', '"quantity": -')
    return [
        _request("/predict", {"customers": [good | {name: -1e9}]}),
        _request("/predict", {"customers": [good | {"nobody": 1}]}),
        {"path": "/predict", "body": '{"customers": [', "times": 1},
        {"path": "/predict_transactions", "body": stranger, "times": 1},
        _request("/predict", {"customers": [good] * 1001}),
        _request("/nowhere", {}),
    ]


def mixed(bundle: Bundle) -> Requests:
    """What the long run asks: mostly rows, every twelfth request lines, some that are refused."""
    few = [one | {"times": 10} for one in predict(bundle, 1)]
    lines = transactions(bundle, 1, 200) + transactions(bundle, 20, 100)
    others = predict(bundle, 100) + explain(bundle)[:2] + refused(bundle)
    mixture: Requests = []
    for place, one in enumerate(few):
        mixture += [one, others[place % len(others)], lines[place % 8 == 0]]
    return mixture


def _lines(pool: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """That many, the pool again and again if need be: under other invoices, or they would be
    copies, which the contract keeps out."""
    turns = (
        line | {"invoice_id": f"{line['invoice_id']}{turn or ''}"}
        for turn in range(count)
        for line in pool
    )
    return list(islice(turns, count))


def _request(path: str, body: Any) -> dict[str, Any]:
    return {"path": path, "body": json.dumps(body), "times": 1}
