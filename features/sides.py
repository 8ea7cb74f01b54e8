"""Decide which rows of a labelled table are in one split together, and in which one.

All rows of a group do, whatever else holds. Copies, rows that are equal in every feature, do too:
they tie their groups together. But where so many groups are tied that they would fill more than
half of a side, the copies are chance, and these groups are drawn one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def draw_sides(
    group: np.ndarray, copies: np.ndarray, label: np.ndarray, shares: Sequence[float]
) -> np.ndarray:
    """The side of each group, int (g,), from 0 to len(shares) - 1.

    group: int (n,) from 0 to g - 1; the numbers are in an order of chance, which is the draw.
    copies: int (n,), the same number for rows that are equal; -1 where that means nothing.
    label: (n,) of 0 and 1.  shares: how large each side should be; they sum to 1.

    A group that would fill more than half of another side is on side 0, training. Of the others the
    largest come first, and each goes where most is missing of the classes that it has: sizes and
    shares of positives come out as near as whole groups allow.
    """
    most = min(shares[1:]) / 2 * len(group)
    block = _blocks(group, copies, most)
    counts = np.column_stack(
        [np.bincount(block[group], weights=label == one, minlength=len(block)) for one in (0, 1)]
    )
    size = counts.sum(axis=1)
    drawn = [int(one) for one in np.argsort(-size, kind="stable") if 0 < size[one] <= most]
    total = counts[drawn].sum(axis=0)
    parts = counts / np.maximum(total, 1)  # of each class
    missing = np.tile(np.asarray(shares)[:, None], (1, 2)).tolist()
    side = np.zeros(len(block), dtype=int)
    for number in drawn:
        negative, positive = parts[number].tolist()
        gains = [
            (negative * left[0] + positive * left[1]) / share
            for left, share in zip(missing, shares, strict=True)
        ]
        best = gains.index(max(gains))
        missing[best][0] -= negative
        missing[best][1] -= positive
        side[number] = best
    return side[block]


def _blocks(group: np.ndarray, copies: np.ndarray, most: float) -> np.ndarray:
    """The block of each group (g,), named by the first of its groups."""
    groups = int(group.max(initial=-1)) + 1
    tied = copies >= 0
    nodes = groups + int(copies.max(initial=-1)) + 1
    # Groups on the one hand, combinations of features on the other; every row is an edge.
    edges = coo_array(
        (np.ones(int(tied.sum())), (group[tied], groups + copies[tied])), shape=(nodes, nodes)
    )
    component = connected_components(edges, directed=False)[1][:groups]
    first = np.full(nodes, groups)
    np.minimum.at(first, component, np.arange(groups))
    large = np.bincount(component[group], minlength=nodes) > most
    return np.where(large[component], np.arange(groups), first[component])
