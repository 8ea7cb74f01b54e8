"""What all charts have in common: labels that say what they should, and axes of months."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import charts, svg
from reports.charts import axes, day_axis, month_ticks, robust_ends
from reports.svg import chart


def labels(draw) -> list[str]:
    with svg.own_style():
        drawn = chart("one", 400, 200, "A chart", draw)
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawn)


def test_labels_keep_their_digits():
    def draw(figure, width):
        charts.value_axis(axes(figure, 50, 24, 8, 8), 0.585, 0.606, "{:.4f}".format, 5)
        return []

    assert {"0.5850", "0.5900", "0.6050"} <= set(labels(draw))


def test_a_few_days_of_a_month_are_named_by_their_first():
    def draw(figure, width):
        day_axis(axes(figure, 50, 24, 8, 8), date(2024, 1, 4), date(2024, 1, 20), 6)
        return []

    assert "4 January 2024" in labels(draw)


@pytest.mark.parametrize("days", [1, 30, 60, 200, 300, 720, 1400, 3650, 20_000])
@pytest.mark.parametrize("most", [6, 12])
def test_the_months_of_an_axis_are_few_and_on_it(days, most):
    first = date(2009, 12, 4)
    last = first + timedelta(days=days)
    months = [month for month, _ in month_ticks(f"{first:%Y-%m}", f"{last:%Y-%m}", most)]
    assert len(months) <= most + 1 and (months or days == 1)
    assert months == sorted(set(months))
    assert all(f"{first:%Y-%m}" <= month <= f"{last:%Y-%m}" for month in months)


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=200),
    st.floats(0.001, 0.3),
    st.floats(0, 5),
)
def test_robust_ends_are_values_and_hold_the_middle(values, share, reach):
    low, high = robust_ends(np.array(values), share, reach)
    assert low in values and high in values
    outside = sum(not low <= value <= high for value in values)
    assert outside <= 2 * share * len(values)
    weights = np.full(len(values), 3)
    assert robust_ends(np.array(values), share, reach, weights) == (low, high)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_an_axis_holds_its_values(low, span):
    found = charts.padded([low, None, low + span])
    assert found[0] < low and low + span < found[1]
