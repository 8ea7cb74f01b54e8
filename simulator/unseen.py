"""The best prediction where some purchases are not seen, because the invoice lost its customer.

`oracle.buys_again` takes every purchase for seen. From a date on only a share ``q`` of the repeat
purchases may be (`configs.settings.Drift.missing_customers`), and a customer may drop out after a
purchase that nobody saw. Given the rate and the drop-out probability ``p`` this is a Poisson
process of seen purchases that ends after each of them with probability ``p``, and in between at
``(1 - q) p`` times the rate. The rate integrates in closed form, as in Fader, Hardie & Lee (2005);
``p`` does not, so that is a quadrature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NODES = 24  # more change nothing beyond 1e-12
_ROWS_AT_A_TIME = 20_000


def buys_again_and_is_seen(
    x: Floats,
    last: tuple[Floats, Floats],
    now: tuple[Floats, Floats],
    until: tuple[Floats, Floats],
    seen: float,
    r: float,
    alpha: float,
    a: float,
    b: float,
) -> Floats:
    """The probability that at least one purchase is seen between `now` and `until`.

    Parameters
    ----------
    x : repeat purchases seen so far, shape ``(n,)``.
    last, now, until : warped days since the first purchase, in two parts: before some are unseen,
        and since; each of shape ``(n,)``.
    seen : the share of repeat purchases that are seen in the second part.
    r, alpha, a, b : the parameters of `simulator.population.Population`.
    """
    from scipy.special import roots_sh_jacobi

    answer = np.empty(x.shape)
    for repeats in np.unique(x):
        alike = np.flatnonzero(x == repeats)
        # Gauss-Jacobi quadrature of the drop-out probability, which is Beta(a, misses) distributed.
        misses = b + max(repeats - 1, 0)
        p, weight = roots_sh_jacobi(_NODES, a + misses - 1, a)
        weight = weight / weight.sum()
        for begin in range(0, alike.size, _ROWS_AT_A_TIME):
            rows = alike[begin : begin + _ROWS_AT_A_TIME]
            three = [
                (before[rows, None], since[rows, None]) for before, since in (last, now, until)
            ]
            answer[rows] = _given(repeats, three, seen, r + repeats, alpha, p, weight)
    return answer


def _given(
    x: float,
    times: list[tuple[Floats, Floats]],
    seen: float,
    power: float,
    alpha: float,
    p: Floats,
    weight: Floats,
) -> Floats:
    """As `buys_again_and_is_seen`, for customers with the same `x`; columns are nodes of `p`."""
    last, now, until = times
    pace = seen + (1 - seen) * p  # at which a seen purchase, or an end, comes in the second part
    unseen_end = np.where(pace > 0, (1 - seen) * p / np.where(pace > 0, pace, 1), 1.0)
    logs = [
        -power * np.log(alpha + before + pace * since)
        for before, since in (now, last, (now[0], last[1]), until, (until[0], now[1]))
    ]
    highest = np.max([part.max(axis=1) for part in logs], axis=0)[:, None]
    still, at_last, since_last, quiet, ended = (np.exp(part - highest) for part in logs)
    stays = weight * ((1 - p) if x > 0 else 1.0)
    alive = still @ stays
    gone = (at_last @ (weight * p) if x > 0 else 0.0) + (since_last - still) @ (stays * unseen_end)
    not_seen = quiet @ (stays * (1 - unseen_end)) + ended @ (stays * unseen_end)
    return np.clip((alive - not_seen) / (alive + gone), 0, 1)
