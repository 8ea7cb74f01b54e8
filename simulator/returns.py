"""Cancellations: sold lines that come back, whole or in part, hours or days later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.invoices import CANCELLATION, NOBODY, Ints, Log, add, take
from simulator.streams import Streams, every

# Of the cancelling invoices of Online Retail II half have one line and some have many.
_TAIL = 1.5
_WHOLE = 0.7
_DAYS = 8.0


def with_cancellations(streams: Streams, log: Log, share: float, named: float) -> Log:
    """Takes back sold lines, so that cancelling ones come to about `share` of all.

    `named` is the share of lines that have a customer; lines of nobody stay. Customers differ in
    how much they send back. A cancellation takes some lines of one invoice, that stand together on
    it. What would come back after the log's end does not.
    """
    if not share:
        return log
    sale = log.lines.document[: log.sales]
    lines_of = np.bincount(sale)
    begin = np.cumsum(lines_of) - lines_of
    buyer = log.documents.customer[sale]
    # An invoice of n lines gives back min(L, n) of them; this many on average:
    longest = int(lines_of.max(initial=1))
    given_back = np.cumsum(np.arange(1, longest + 1) ** -_TAIL)[np.maximum(lines_of, 1) - 1]
    propensity = streams("propensity to cancel").standard_exponential(int(buyer.max(initial=0)) + 1)
    weight = np.where(buyer != NOBODY, propensity[buyer] / given_back[sale], 0)
    # Two may choose the same line, which comes back once: as many more are chosen.
    rate = -np.log1p(-min(share / (1 - share) / named, 0.95))
    total = np.cumsum(weight)
    at = np.searchsorted(total, every(streams("cancelled"), rate, float(total[-1])), side="right")
    run = np.minimum(
        np.floor((1 - streams("lines cancelled").random(at.size)) ** (-1 / _TAIL)),
        lines_of[sale[at]],
    ).astype(np.int64)
    rows, document = _runs(at, run, begin[sale[at]], lines_of[sale[at]])

    sold, documents = take(log.lines, rows), take(log.documents, sale[at])
    due = log.clock.warp(documents.second) + 0.02
    due += streams("days to cancel").exponential(_DAYS, at.size)
    in_time = due < log.clock.warped[-1]
    second = log.clock.unwarp(due[in_time]).astype(np.int64)
    documents = replace(
        take(documents, in_time), second=second, kind=np.full(second.size, CANCELLATION)
    )
    part = np.ceil(streams("part cancelled").random(rows.size) * sold.quantity).astype(np.int64)
    whole = streams("whole cancelled").random(rows.size) < _WHOLE
    back = replace(
        sold,
        document=(np.cumsum(in_time) - 1)[document],
        quantity=-np.where(whole, sold.quantity, np.maximum(part, 1)),
    )
    return add(log, take(back, in_time[document]), documents)


def _runs(at: Ints, run: Ints, begin: Ints, size: Ints) -> tuple[Ints, Ints]:
    """Rows `at`, `at + 1` and so on, `run` of them, round the invoice's end to its begin; and the
    number of the run that each is of. A row that an earlier run has is left out."""
    document = np.repeat(np.arange(at.size), run)
    step = np.arange(document.size) - np.repeat(np.cumsum(run) - run, run)
    rows = begin[document] + (at[document] - begin[document] + step) % size[document]
    _, kept = np.unique(rows, return_index=True)
    kept.sort()
    return rows[kept], document[kept]
