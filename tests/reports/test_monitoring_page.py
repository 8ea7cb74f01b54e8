"""The page of monitoring: its verdict stands first, its figures are the state's, nothing outside is
needed to read it, and no text from outside becomes markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import made_states
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_states import (
    MADE,
    START,
    empty,
    rate_drift,
    undrifted,
    until_month,
)
from read_page import NO_BROWSER, SCRIPT, Page, check_alone

from monitoring.facts import Quality, Reading, Requests, Verdict, add_months
from reports import words
from reports.monitoring import write_page
from reports.monitoring_state import Decision, PageState, SensorNote
from tests.serving.browser import open_browser, watched

HOSTILE = pytest.param("hostile", marks=pytest.mark.slow)


def written(state: PageState, folder: Path) -> str:
    target = folder / "page.html"
    write_page(target, state)
    return target.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of a state -> its page, rendered once."""

    @cache
    def page_of(name: str) -> str:
        return written(MADE[name](), tmp_path_factory.mktemp("page"))

    return page_of


def strip_of(page: str) -> list[tuple[str, str]]:
    """The strip of months: the class and the text of each."""
    strip = page[page.index('<ol class="strip">') : page.index("</ol>")]
    cells = re.findall(r'<li class="([^"]*)">(.*?)</li>', strip, re.S)
    return [(kind, Page(cell).text) for kind, cell in cells]


def section(page: str, name: str) -> str:
    return page[page.index(f'<section id="{name}"') :].partition("</section>")[0]


# --- how it is made ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rate", "first", "empty", HOSTILE])
def test_the_page_is_well_formed_and_needs_nothing_else(name, pages):
    assert [held for tag, held in check_alone(pages(name)).tags if tag == "a"]


def test_a_failure_leaves_the_page_that_stood_there(tmp_path):
    written(empty(), tmp_path)
    before = (tmp_path / "page.html").read_bytes()
    broken = replace(empty(), verdicts=(Verdict("not a month", "calendar", "", "", (), None),))
    with pytest.raises(ValueError):
        write_page(tmp_path / "page.html", broken)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_bytes() == before


def test_every_chart_has_words_and_its_figures_in_a_table(pages):
    page = pages("rate")
    charts = Page(page).having("chart")
    assert len(charts) == 5 + 2 + 2 + 1 + 2 + 1 + 2  # performance and trend twice: for phones
    for chart in charts:
        assert chart["role"] == "img" and len(chart["aria-label"]) > 40
    text = Page(page).text
    for one in rate_drift().performance:
        assert words.figure(one.roc_auc) in text
        assert words.interval(one.roc_auc_low, one.roc_auc_high) in text
    for one in rate_drift().estimates:
        assert words.interval(one.low, one.high) in text
    for sensor in rate_drift().readings:
        assert words.in_unit(sensor.value, MADE["rate"]().sensors[sensor.sensor].unit) in text


def test_colours_of_the_charts_are_variables_of_the_page(pages):
    page = pages("rate")
    drawn = page[page.index("</style>") :]
    assert not re.search(r"(fill|stroke): ?(#|black|white|rgb)", drawn)
    names = set(re.findall(r"var\(--([\w]+)\)", drawn))
    assert names <= set(re.findall(r"--(\w+):", page))


@pytest.mark.slow
def test_of_many_months_the_newest_are_unfolded(pages):
    page = pages("long")
    assert len(strip_of(page)) == 24 and strip_of(page)[-1][1].startswith("Mar 2031")
    assert len(page) < 1_500_000
    months = Page(section(page, "months")).text
    assert all(words.short_month(one.month) in months for one in MADE["long"]().verdicts)


# --- what it says ------------------------------------------------------------------------------


def test_the_verdict_of_the_latest_month_stands_first(pages):
    page = pages("rate-6")
    head = Page(page[: page.index('id="months"')]).text
    assert Page(section(page, "verdict")).having("warn")
    for said in (
        "Demand has changed",
        "September 2026 · verdict changed demand",
        "July 2026 3 months in a row with this verdict.",
        f"below the expected value; the limit is {made_states.SENSORS['invoices'].limit:g}.",
        "21 % fewer than in the same month of last year",
        "Retraining is due on 2026-12-28.",
        "make operate CONFIG=year",
        'make rebaseline CONFIG=year REASON="why"',
    ):
        assert said in head


@pytest.mark.parametrize("name", ["rate", "broken", "first"])
def test_every_month_and_every_alarm_is_in_the_text(name, pages):
    state, page = MADE[name](), pages(name)
    strip = strip_of(page)
    assert len(strip) == len(state.verdicts)
    for verdict, (_, text) in zip(state.verdicts, strip, strict=True):
        assert text.startswith(f"{words.short_month(verdict.month)} {verdict.verdict}")
    rows = Page(section(page, "sensors")).text
    for one in state.readings:
        if one.state == "alarm":
            assert re.search(rf"{words.short_month(one.month)} [^A-Z]+ alarm", rows)
    alerts = Page(section(page, "alerts")).text
    for alert in state.alerts:
        assert alert.text in alerts and words.short_month(alert.first_month) in alerts


def test_a_month_in_which_not_everything_could_be_judged_is_not_green(pages):
    page = pages("first")
    ((kind, text),) = strip_of(page)
    assert kind == "partly now" and text.endswith("3 not judged")
    head = Page(section(page, "verdict")).text
    assert "No finding in what could be judged" in head
    assert "invoices: The same month of last year is not in the log." in head
    assert "abroad: too few rows, 12 rows." in head
    assert not Page(section(page, "verdict")).having("good")


@pytest.mark.slow
def test_a_year_without_a_finding_is_green_once_everything_can_be_judged(pages):
    kinds = [kind for kind, _ in strip_of(pages("undrifted"))]
    assert kinds == ["partly"] * 2 + ["good"] * 9 + ["good now"]
    assert "the closest to its limit is" in Page(section(pages("undrifted"), "verdict")).text


def test_a_held_month_is_named_with_its_reasons_and_the_command(pages):
    said = Page(section(pages("broken"), "quality")).text
    assert "September 2026 is held. The batch 1a2b3c is held: the quarantined share rose" in said
    assert "make quarantine CONFIG=year" in said
    charts = re.findall(r'<svg class="chart.*?</svg>', section(pages("broken"), "quality"), re.S)
    bars = charts[0]
    assert bars.count("var(--bad)") == 1 and "; September 2026 is held" in bars
    assert "The data are broken" in Page(section(pages("broken"), "verdict")).text


def test_decisions_runs_and_scores_are_listed(pages):
    state, page = rate_drift(), pages("rate")
    decisions = Page(section(page, "performance")).text
    for one in state.decisions:
        assert f"{one.day}" in decisions and one.reason in decisions
    runs = Page(section(page, "runs")).text
    assert all(one.run_id in runs for one in state.runs)
    scores = Page(section(page, "scores")).text
    assert all(one.path in scores for one in state.scores)


def test_features_come_in_the_order_of_what_moved_most(pages, tmp_path):
    def named(page: str) -> list[str]:
        rows = section(page, "explanation").split("<tbody>", 1)[1]
        return re.findall(r"<code>(\w+)</code>", rows)

    latest = [one for one in rate_drift().drifts if one.month == "2027-03"]
    features = [one for one in latest if one.feature != "probability"]
    wanted = [one.feature for one in sorted(features, key=lambda one: -(one.moved or 0))]
    assert named(pages("rate")) == wanted and wanted[-1] == "tenure_days"
    unknown = tuple(replace(one, moved=None) for one in features)
    page = written(replace(rate_drift(), drifts=unknown), tmp_path)
    by_psi = [one.feature for one in sorted(features, key=lambda one: -(one.psi or 0))]
    assert named(page) == by_psi and "the largest PSI first" in Page(page).text


def test_the_requests_to_the_service_stand_beside_the_scores_and_the_month_before(pages, tmp_path):
    page = pages("rate")
    said = Page(section(page, "requests")).text
    for one in (
        "requests 8,214",
        "rows answered 12,480 31 days",
        "version 3 95.6 % 11,930 rows",
        "0.447 batch scores: 0.462",
        "gap_days_mean 31.0 % 22.0 % –",
        "country 0.0 % 0.0 % 3.4 % 0.2 %",
        "1 file could not be read",
    ):
        assert one in said, one
    assert "orders_90d" not in said, "it did not move"
    few = Requests("2027-03-01", "2027-04-01", "too_few", None, 7, 1, 5, ((3, 7),), 3, 0.5)
    few = replace(few, text="7 answers on 1 day: too few to say more, 100 are needed.")
    said = Page(section(written(replace(empty(), requests=few), tmp_path), "requests")).text
    assert few.text in said and "too few rows to compare" in said
    assert 'id="requests"' not in pages("empty") and "#requests" not in pages("empty")


def test_what_explains_months_in_a_row_stands_once(pages):
    said = Page(section(pages("rate"), "explanation")).text
    assert said.count("Jul 2026 to Jan 2027: changed demand") == 1
    assert said.count("orders_90d: mean 1.9, a year before 2.6.") == 1
    assert "there is no alarm to explain" in said  # in the latest month


def test_a_value_far_outside_of_its_band_does_not_flatten_the_chart(pages):
    """The share of wrong units is at 20.7 %, its band ends at 6.8 %: the axis ends below 15 %."""
    card = section(pages("broken"), "sensors").split("<article>")[2]
    ticks = re.findall(r"<text[^>]*>([\d.]+) %</text>", card)
    assert ticks and max(map(float, ticks)) < 15
    assert "alarm in Sep 2026; September 2026: 20." in card


# --- states of a beginning, and single facts -----------------------------------------------------

ONE_MONTH = until_month(undrifted(), 1)


@pytest.fixture
def says(tmp_path: Path) -> Callable[..., str]:
    """`says(state)` is the text of the page, `says(state, "verdict")` that of a section."""

    last: list[Any] = [None, ""]  # a page takes a second: it is rendered once

    def text(state: PageState, name: str = "") -> str:
        if state is not last[0]:
            last[:] = state, written(state, tmp_path)
        page = last[1]
        return Page(section(page, name) if name else page).text

    return text


def judged(*readings: Reading, verdict: str = "calendar", **changes: Any) -> PageState:
    """A state of one month with these readings."""
    month = replace(Verdict(START, "calendar", "", START, (), 1), verdict=verdict, **changes)
    return replace(empty(), day="2026-05-01", verdicts=(month,), readings=readings)


def test_before_the_first_month_the_page_says_what_to_type(says):
    text = says(empty())
    for said in ("No month was judged yet", "There is no champion", "make train", "make operate"):
        assert said in text
    trained = {"champions": ONE_MONTH.champions, "runs": ONE_MONTH.runs}
    text = says(replace(empty(), decisions=ONE_MONTH.decisions, **trained))
    assert "No month was judged yet" in text and "There is no champion" not in text
    assert "No scores were made yet" in text


def test_what_cannot_be_judged_yet_says_why(says):
    learns = Reading("price", START, "learning", 1.0, 900, until="2027-04")
    text = says(judged(learns, champion=None))
    assert "Nothing could be judged yet" in text
    assert "price: learning, can judge from April 2027 on." in text
    assert "There is no champion yet: make train" in text
    no_column = judged(Reading("price", START, "skipped"))
    assert "The source has no such column" in says(no_column, "sensors")
    late = replace(empty(), verdicts=undrifted().verdicts[:3], day="2026-08-15")
    assert "July 2026 is over but has not been judged yet" in says(late)
    assert "is over but" not in says(replace(late, day="2026-07-31"))


def test_an_estimate_stands_with_its_assumption(pages, says):
    assumption = "It holds only if the probabilities are still right"
    assert assumption in Page(pages("rate")).text
    state = rate_drift()
    assert assumption not in says(
        replace(empty(), verdicts=state.verdicts, performance=state.performance)
    )


def test_the_outcome_of_a_batch_or_a_version_is_shown_in_words(says):
    release = Decision("2026-04-20", "release", 2, "it is right")
    accepted = Quality("2026-04", 100, 10, "released")
    state = replace(ONE_MONTH, decisions=(release,), quality=(accepted,))
    assert "promoted by a person version 2" in says(state, "performance")
    assert "accepted by a person" in says(state, "quality") and "released" not in says(state)
    why = "the batch breaks the data contract: rows is 0, the limit is at least 1"
    refused = Quality("2026-04", 100, 100, "refused", ("missing_date 100",), why)
    text = says(replace(ONE_MONTH, quality=(refused,)), "quality")
    assert "April 2026 is refused. The batch breaks the data contract: rows is 0" in text


def test_the_champions_reading_says_how_sure_worse_is(says):
    reading = Reading("champion_gain", START, "alarm", -0.01, 9000, 0.01, 0.005, -4.0, 3.0)
    early = Reading("early_label", START, "pending", -0.02, 900, 0.0, 0.006, -3.3, 3.5)
    state = replace(judged(verdict="worse"), of_champion=(reading,), early_label=(early,))
    text = says(state, "verdict")
    assert "Champion gain: 4.0 standard deviations below" in text
    assert "Early label (never an alarm): 3.3 standard deviations below" in text
    assert "_" not in text


def test_a_held_month_is_shown_as_held_without_readings(tmp_path):
    held = replace(undrifted(2).quality[0], month="2026-05", status="held", why="it is held")
    verdict = Verdict("2026-05", "broken data", "hold it", "2026-05", ("it is held",), None)
    verdicts = (*ONE_MONTH.verdicts, verdict)
    state = replace(ONE_MONTH, verdicts=verdicts, quality=(held,), day="2026-06-01")
    page = written(state, tmp_path)
    head = Page(section(page, "verdict")).text
    assert f"{held.quarantined:,} of the month's {held.rows:,} rows are in quarantine" in head
    assert "champion version 1 since 2026-04-01" in head, "it is champion still"
    assert "Hold it." in head
    said = Page(section(page, "explanation")).text
    assert "April 2026 beside April 2025" in said and "no alarm to explain" not in said
    assert "<details open" not in section(page, "explanation"), "that is of another month"


ALL_JUDGED = Reading("price", START, "ok", 0.0, 900, 0.0, 0.1, 0.0, 6.0)
LEARNS = Reading("unit", START, "learning", text="Learning: it needs 12 months as its baseline.")
EARLY = Reading("early_label", START, "learning", text="No scores of a year before.")


@pytest.mark.parametrize(
    ("readings", "kind", "sentence"),
    [  # the early label is not a reason; what the verdict says of a sensor stands once
        ((ALL_JUDGED,), "good now", EARLY.text),
        ((ALL_JUDGED, LEARNS), "partly now", LEARNS.text),
        ((LEARNS,), "unjudged now", "Nothing could be judged yet"),
    ],
)
def test_a_month_is_green_only_where_everything_that_can_alarm_was_judged(
    readings, kind, sentence, tmp_path
):
    learning = (*(LEARNS.text for one in readings if one is LEARNS), EARLY.text)
    page = written(replace(judged(*readings, learning=learning), early_label=(EARLY,)), tmp_path)
    ((shown, text),) = strip_of(page)
    assert shown == kind and ("1 not judged" in text) == (LEARNS in readings)
    assert Page(section(page, "verdict")).text.count(sentence) == 1


# --- odd states --------------------------------------------------------------------------------


@pytest.mark.slow
def test_markup_in_names_is_text(pages):
    page = pages("hostile")
    read = check_alone(page)
    assert read.text.count(SCRIPT) > 30
    assert "{{ 7 * 7 }}" in read.text and "\u202e" not in page
    assert page.count("متجر") > 30


VALUES = st.one_of(
    st.none(),
    st.floats(-1e9, 1e9),
    st.sampled_from([0.0, float("nan"), float("inf"), -float("inf")]),
)
READINGS = st.builds(
    Reading,
    sensor=st.sampled_from(["price", "other <b>"]),
    month=st.integers(0, 60).map(lambda place: add_months(START, place)),
    state=st.sampled_from([*words.STATES]),
    value=VALUES,
    n=st.integers(0, 10**9),
    expected=VALUES,
    sd=st.one_of(st.none(), st.floats(0, 1e9), st.just(float("inf"))),
    z=VALUES,
    limit=st.one_of(st.none(), st.floats(0.1, 10)),
)


@pytest.mark.slow
@settings(max_examples=20)
@given(
    readings=st.lists(READINGS, max_size=12, unique_by=lambda one: (one.sensor, one.month)),
    early=st.lists(READINGS, max_size=3, unique_by=lambda one: one.month),
)
def test_any_readings_have_a_page(readings, early, tmp_path_factory):
    """Values that are missing, huge or no numbers, states without a band, missing months."""
    verdicts = tuple(
        Verdict(month, "calendar", "", month, (), None)
        for month in sorted({one.month for one in readings})
    )
    state = replace(
        empty(),
        day="2032-01-01",
        sensors={"price": SensorNote("prices", "broken data", "share", 6.0)},
        readings=tuple(readings),
        early_label=tuple(early),
        verdicts=verdicts,
        decisions=(Decision("2026-01-01", "trigger", None, "before all of them"),),
    )
    page = written(state, tmp_path_factory.mktemp("any"))
    read = Page(page)
    assert read.wrong == [] and read.open == []
    assert not re.search(r"\b(nan|inf)\b", page[page.index("</style>") :])
    for one in readings:
        assert words.short_month(one.month) in read.text


@given(st.lists(st.integers(0, 40), unique=True).map(sorted))
def test_ranges_name_the_ends_of_months_in_a_row(places):
    months = [add_months(START, place) for place in places]
    said = words.month_ranges(months)
    starts = [place for place in places if place - 1 not in places]
    assert said.count(",") == max(len(starts) - 1, 0)
    assert all(words.short_month(add_months(START, place)) in said for place in starts)


@given(st.one_of(st.none(), st.floats()), st.sampled_from(["", "share", "ratio", "log ratio"]))
def test_any_value_of_a_sensor_can_be_read(value, unit):
    shown = words.in_unit(value, unit)
    assert shown and "nan" not in shown and "inf" not in shown and shown not in ("−0", "-0")


# --- in a browser ------------------------------------------------------------------------------


@NO_BROWSER
@pytest.mark.slow
def test_the_page_is_dark_where_the_reader_wants_it_and_light_in_print(pages, tmp_path):
    target = tmp_path / "page.html"
    target.write_text(pages("rate"), encoding="utf-8")
    ground = "getComputedStyle(document.querySelector('section')).backgroundColor"
    label = "getComputedStyle(document.querySelector('svg.chart text')).fill"
    with open_browser() as browser, watched(browser, color_scheme="dark") as seen:
        seen.page.goto(target.as_uri())
        dark = [seen.page.evaluate(ground), seen.page.evaluate(label)]
        seen.page.emulate_media(color_scheme="light")
        light = [seen.page.evaluate(ground), seen.page.evaluate(label)]
        assert all(one != other for one, other in zip(dark, light, strict=True))
        seen.page.emulate_media(color_scheme="dark", media="print")
        assert [seen.page.evaluate(ground), seen.page.evaluate(label)] == light
