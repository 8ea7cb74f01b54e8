"""A healthy shop, and what the sensors measure in it."""

from __future__ import annotations

import pytest
from made_shop import UNTIL, Shop, measure, shop

from monitoring.measure import Measured


@pytest.fixture(scope="session")
def healthy() -> Shop:
    return shop()


@pytest.fixture(scope="session")
def measured(healthy, tmp_path_factory) -> list[Measured]:
    return measure(healthy, tmp_path_factory.mktemp("healthy"), UNTIL)
