"""What holds for every page: it fits every screen, and the same facts give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from random import Random

import matplotlib
import pytest
from made_context import made_context
from made_states import MADE
from read_page import NO_BROWSER, check_fits
from test_data_report import EVERY_KIND, refused, report, sale

from configs.settings import Compute
from reports.model import write_model_report
from reports.monitoring import write_page
from reports.monitoring_state import PageState
from tests.serving.browser import open_browser

pytestmark = pytest.mark.slow


def data(folder: Path, rows: list, **how) -> Path:
    report(folder, rows, **how)
    return folder / "data_report.html"


def model(folder: Path, **how) -> Path:
    return write_model_report(made_context(200, bootstrap=20, **how), folder)[0]


def monitoring(folder: Path, state: PageState) -> Path:
    write_page(folder / "page.html", state)
    return folder / "page.html"


def shuffled(state: PageState) -> PageState:
    """The same facts in another order."""
    orders = {
        field.name: tuple(Random(1).sample(value, len(value)))
        for field in fields(state)
        if isinstance(value := getattr(state, field.name), tuple) and field.name != "pooled"
    }
    return replace(state, **orders)


TEN_YEARS = [*(sale(day) for day in range(0, 3650, 9)), refused("zero_price")]
PLAIN = {"plain": True, "champion": False, "promoted": False}
PAGES: dict[str, Callable[[Path], Path]] = {
    "data of a year": partial(data, rows=EVERY_KIND),
    "data of ten years": partial(data, rows=TEN_YEARS),
    "a model of a log": model,
    "a model of a labelled table": partial(model, **PLAIN),
    **{
        f"monitoring, {name}": partial(monitoring, state=MADE[name]())
        for name in ("rate", "broken", "first", "empty", "hostile", "long")
    },
}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with open_browser() as browser:
        yield browser


@NO_BROWSER
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_screen_and_no_label_is_cut(name, browser, tmp_path):
    check_fits(browser, PAGES[name](tmp_path))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            partial(data, rows=EVERY_KIND),
            partial(data, rows=EVERY_KIND, compute=Compute(threads=2, memory_mb=256)),
        ),
        (model, model),
        *[(partial(monitoring, state=s), partial(monitoring, state=shuffled(s)))
          for s in [MADE["rate"]()]],
    ],
    ids=["data", "model", "monitoring"],
)  # fmt: skip
def test_the_same_facts_give_the_same_bytes_whatever_the_machine(one, other, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    page = one(tmp_path / "one").read_bytes()
    assert len(page) < 300_000
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        assert other(tmp_path / "other").read_bytes() == page
