"""A purchase log of the shape of CDNOW's: values separated by blanks, no header, days as 19970101,
no product and no invoice. Seeded, so that every test sees the same one."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

START, DAYS = date(1997, 1, 1), 730


def write_log(path: Path, customers: int = 2500, seed: int = 11) -> int:
    """Write the log, in the order of its customers; returns its number of lines.

    Customers come in the first 18 months, buy at a rate of their own, and stop after a purchase
    with a probability of their own. One line in a thousand is free of charge.
    """
    rng = np.random.default_rng(seed)
    lines = []
    for customer in range(1, customers + 1):
        day = float(rng.uniform(0, 540))
        rate, leaves = rng.gamma(0.8, 1 / 32), rng.beta(1.0, 6.0)
        while day < DAYS:
            pieces = int(rng.geometric(0.45))
            dollars = 0.0 if rng.random() < 0.001 else pieces * rng.lognormal(2.5, 0.35)
            when = START + timedelta(days=int(day))
            lines.append(f" {customer:05} {when:%Y%m%d} {pieces:2} {dollars:7.2f}\n")
            if rng.random() < leaves:
                break
            day += rng.exponential(1 / max(rate, 1e-4))
    path.write_text("".join(lines), encoding="ascii")
    return len(lines)
