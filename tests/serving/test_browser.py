"""The page at `/`, in a real browser, against the real service: what a person sees and does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browser import Watched, open_browser, watched
from made_graphs import graph_of
from playwright.sync_api import Browser, Page, expect
from real_service import AS_OF, line, make_bundle, started

from features.catalogue import NAMES, Feature
from registry.bundle import write_bundle

pytestmark = pytest.mark.slow

TOKEN = "a-token-that-nobody-guesses"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
HOSTILE = '<img src=x onerror="document.title=1">'
TABLE = (
    Feature("months", "months", f"since the contract began {HOSTILE}", low=0, high=72),
    Feature("plan", "category", HOSTILE, None, None, "nobody asked", ("month", HOSTILE)),
    Feature("charge", "currency", "a month", low=0, missing="the first bill is not out"),
)
SAMPLES = [
    {
        "name": "sample 1",
        "as_of": str(AS_OF),
        "lines": [
            line("536365", 80, 2, 2.0),
            line("536365", 80, 1, 1.5),
            line("C53700", 60, -1, 2.0),
            line("538000", 20, 3, 1.25),
            line("539000", 9, 5, 0.0),
        ],
    },
    {"name": "sample 2", "as_of": str(AS_OF), "lines": [line("540000", 5, 4, 1.0)]},
]


def shop_bundle(folder: Path) -> str:
    """The tiny model of a log, with figures and with samples of this page's own."""
    test = {"roc_auc": 0.7661, "roc_auc_low": 0.7379, "roc_auc_high": 0.7974}
    return make_bundle(folder, SAMPLES, test=test, valid={"roc_auc": 0.7931})


def table_bundle(folder: Path) -> str:
    """A labelled table whose texts are hostile, and which keeps nothing to explain against."""
    graph = graph_of(
        len(TABLE),
        """missing = IsNaN(features)
        filled = Where(missing, one, features)
        score = MatMul(filled, weights)
        column = Sigmoid(score)
        probability = Reshape(column, flat)""",
        one=np.float32([1]),
        weights=np.float32([[-0.05], [0.8], [0.01]]),
    )
    description = {
        "family": "tiny",
        "threshold": None,
        "features": [asdict(feature) for feature in TABLE],
        "question": {"source": "table", "target": HOSTILE, "positive": "yes"},
        "transactions": None,
    }
    values = {"months": 12, "plan": HOSTILE, "charge": None}
    examples = {"reference": [], "samples": [{"name": "sample 1", "values": values}]}
    return write_bundle(folder, graph, description, examples)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with started(tmp_path_factory.mktemp("shop"), make=shop_bundle) as running:
        yield f"{running.url}/"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A labelled table's model, which wants a token."""
    folder = tmp_path_factory.mktemp("table")
    with started(folder, make=table_bundle, SERVING_TOKEN=TOKEN) as running:
        yield f"{running.url}/"


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@contextmanager
def at_home(browser: Browser, shop: str, **options: Any) -> Iterator[Page]:
    """The page of the shop, its first answer there. It must ask nobody else, and not complain."""
    with watched(browser, **{"viewport": WIDE} | options) as seen:
        seen.page.goto(shop)
        expect(seen.page.locator(".mover").first).to_be_visible()
        yield seen.page
        stayed_at_home(seen, shop)


def stayed_at_home(seen: Watched, url: str) -> None:
    assert seen.hosts == {url.split("/")[2]}
    assert seen.complaints == []


@pytest.fixture(scope="module")
def one_page(browser, shop):
    with at_home(browser, shop) as page:
        yield page


@pytest.fixture
def page(one_page):
    """The page that these tests share, as it is when sample 1 has just been chosen."""
    one_page.get_by_role("radio", name="empty form").check()
    expect(one_page.locator("#moved-of")).to_have_text("Nothing was sent yet.")
    one_page.get_by_role("radio", name="sample 1").check()
    expect(one_page.locator(".mover").first).to_be_visible()
    return one_page


@pytest.fixture
def fresh(browser, shop):
    with at_home(browser, shop) as page:
        yield page


def ask(url: str, path: str, body: Any) -> Any:
    return httpx.post(url + path, json=body, trust_env=False, timeout=60).raise_for_status().json()


def of_sample(url: str, sample: dict[str, Any]) -> dict[str, Any]:
    """What the service says of a sample, without the page: a prediction with its features."""
    customer = {"customer_id": "c", "lines": sample["lines"]}
    body = {"as_of": sample["as_of"], "customers": [customer]}
    return ask(url, "predict_transactions?features=true", body)["predictions"][0]


def changed(url: str, features: dict[str, Any], **changes: Any) -> float:
    values = {name: value for name, value in (features | changes).items() if value is not None}
    return ask(url, "predict", {"customers": [values]})["predictions"][0]["probability"]


def field(page: Page, name: str) -> Any:
    """The input of a feature, unfolded."""
    locator = page.locator(f"#field-{name}")
    locator.evaluate(
        "one => { const folded = one.closest('details'); if (folded) folded.open = 1 }"
    )
    return locator


def says(page: Page, probability: float) -> None:
    expect(page.locator("#probability .big")).to_have_text(f"{probability:.3f}")


# --- looking -----------------------------------------------------------------------------------


def test_the_head_the_model_card_and_the_health_tell_what_is_served(page, shop):
    expect(page).to_have_title("golden-path-default, version 3")
    question = "The probability that the customer buys within 90 days."
    expect(page.locator("#question")).to_have_text(question)
    expect(page.locator("#state")).to_have_text("ready")
    for target in ("docs", "docs.json", "metrics"):
        href = page.locator(f"nav a[href='{target}']").evaluate("link => link.href")
        assert httpx.get(href, trust_env=False, timeout=60).status_code == 200
    row = page.locator("#card tr", has_text="ROC AUC")
    expect(row.locator("td").nth(0)).to_have_text("0.7660.738 to 0.797")
    expect(row.locator("td").nth(1)).to_have_text("0.793")
    assert tuple(page.locator("#features tbody tr code").all_text_contents()) == NAMES
    expect(page.locator("#service dl")).to_contain_text("golden-path-default, version 3")
    explained = page.locator("#service tr", has_text="POST explain").locator("td").last
    expect(explained).to_have_text(re.compile(r"^[1-9]\d*$"))


def test_a_sample_is_shown_as_the_service_answers_it(page, shop):
    for place, sample in enumerate(SAMPLES):
        page.get_by_role("radio").nth(place).check()
        prediction = of_sample(shop, sample)
        says(page, prediction["probability"])
        word = "Contact" if prediction["decision"] else "Leave"
        expect(page.locator("#decision")).to_have_text(word)
        days = f"{prediction['features']['recency_days']:g}"
        expect(field(page, "recency_days")).to_have_value(days)


def test_the_time_line_has_a_mark_for_each_invoice(page):
    expect(page.locator(".timeline .mark")).to_have_count(4)
    expect(page.locator(".mark.sale")).to_have_count(2 + 1)  # and the one of the legend
    page.locator(".timeline .mark.cancellation").hover()
    expect(page.locator(".readout")).to_have_text(
        "2025-04-25, cancellation, invoice C53700, value −2.00 in 1 line"
    )
    rows = page.locator("#orders tbody tr")
    expect(rows).to_have_count(4)
    assert rows.nth(0).text_content() == "2025-04-05sale5363652" + "5.50"
    expect(page.locator("#left-out")).to_have_text(
        "1 of 5 lines left out (1: gifts, samples and stock corrections are not sales)."
    )


def test_contributions_add_up_to_the_probability(page):
    numbers = page.locator("#movers tr > td:last-child").evaluate_all(
        "cells => cells.map(cell => (cell.querySelector('.size') ?? cell).firstChild.textContent)"
    )
    base, *parts, total = (float(text.replace("−", "-")) for text in numbers)
    assert base + sum(parts) == pytest.approx(total, abs=0.0005 * len(numbers))
    assert len(parts) == 8 + 1


# --- changing ----------------------------------------------------------------------------------


def test_a_change_is_asked_at_once_and_can_be_taken_back(page, shop):
    first = of_sample(shop, SAMPLES[0])
    now = changed(shop, first["features"], recency_days=300)
    field(page, "recency_days").fill("300")
    says(page, now)
    expect(page.locator("#difference")).to_contain_text(
        f"{first['probability']:.3f} at first, {now:.3f} now: down by"
    )
    expect(page.locator(".below")).to_have_text(f"at first {first['probability']:.3f}")
    expect(page.locator(".mover[data-feature=recency_days]")).to_contain_text("300")
    page.get_by_role("button", name="Reset").click()
    says(page, first["probability"])
    expect(field(page, "recency_days")).to_have_value("20")
    expect(page.get_by_role("button", name="Reset")).to_be_disabled()
    field(page, "gap_days_mean").fill("")  # a missing value
    says(page, changed(shop, first["features"], gap_days_mean=None))


def test_a_refusal_stands_beside_its_field(page):
    wrong = (("recency_days", "-3", "must be"), ("orders_total", "", "required"))
    for name, text, said in (*wrong, ("year_sin", "7", "got 7")):
        field(page, name).fill(text)
        problem = page.locator(f"#field-{name}-problem")
        expect(problem).to_contain_text(said)
        expect(field(page, name)).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#probability .big")).to_have_text("–")
        page.get_by_role("button", name="Reset").click()
        expect(problem).to_be_empty()
        expect(page.locator("#probability .big")).to_contain_text("0.")


def test_a_form_can_be_filled_in_by_hand(page, shop):
    features = of_sample(shop, SAMPLES[1])["features"]
    page.get_by_role("radio", name="empty form").check()
    expect(page.locator("#difference")).to_contain_text("to fill in")
    for name, value in features.items():
        if value is not None:
            field(page, name).fill(str(value))
    says(page, changed(shop, features))


def test_everything_works_with_the_keyboard(fresh, shop):
    page, focused = fresh, "document.activeElement"
    for _ in range(20):  # the link to skip, and the others of the head
        page.keyboard.press("Tab")
        if page.evaluate(f"{focused}.name") == "sample":
            break
    page.keyboard.press("ArrowDown")
    says(page, of_sample(shop, SAMPLES[1])["probability"])
    page.keyboard.press("ArrowUp")
    expect(page.locator(".timeline .mark")).to_have_count(4)
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.getAttribute('aria-label')").startswith("2025-04-05, sale")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".readout")).to_contain_text("2025-04-25, cancellation")
    expect(page.locator(".mover").first).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if (name := page.evaluate(f"{focused}.name")) in NAMES:
            break
    page.keyboard.press("ArrowUp")
    expect(page.locator("#difference")).to_contain_text("at first")
    page.keyboard.press("Shift+Tab")
    assert name in NAMES and page.evaluate(f"{focused}.id") == "reset"
    page.keyboard.press("Enter")
    says(page, of_sample(shop, SAMPLES[0])["probability"])


# --- around it ---------------------------------------------------------------------------------


def test_nothing_sticks_out_of_a_narrow_screen(browser, shop):
    with at_home(browser, shop, viewport=NARROW, color_scheme="dark") as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.emulate_media(color_scheme="light")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_another_version_is_noticed_and_asked_again(fresh, shop):
    """The answer of /model is altered on its way, as if another version had taken over."""
    field(fresh, "recency_days").fill("300")
    expect(fresh.locator("#difference")).to_contain_text("at first")
    answer = httpx.get(shop + "model", trust_env=False, timeout=60).json() | {"version": 4}
    fresh.route("**/model", lambda route: route.fulfill(json=answer))
    expect(fresh.locator("#news")).to_contain_text("version 4 is served (before: version 3)")
    expect(fresh.locator("#version")).to_have_text("version 4")
    expect(field(fresh, "recency_days")).to_have_value("300")
    says(fresh, changed(shop, of_sample(shop, SAMPLES[0])["features"], recency_days=300))


def test_a_service_that_went_away_is_said_so(fresh):
    fresh.route("**/*", lambda route: route.abort())
    field(fresh, "recency_days").fill("30")
    expect(fresh.locator("#problem")).to_have_text("the service cannot be reached")
    expect(fresh.locator("#state")).to_have_text("not ready")


def test_the_description_is_shown_to_who_has_the_token(browser, guarded):
    with watched(browser, viewport=WIDE) as seen:
        tokens = iter(("not-the-token-at-all", TOKEN))
        seen.page.on("dialog", lambda dialog: dialog.accept(next(tokens)))
        seen.page.goto(f"{guarded}docs")
        expect(seen.page.locator("#operations-default-predict")).to_be_visible()


def test_a_token_is_asked_for_and_texts_stay_texts(browser, guarded):
    """A labelled table's model behind a token, hostile in its texts, without explanations."""
    with watched(browser, viewport=WIDE) as seen:
        page = seen.page
        page.goto(guarded)
        page.get_by_label("Token", exact=True).fill("not-the-token-at-all")
        page.keyboard.press("Enter")
        expect(page.locator("#token-problem")).to_have_text("This token was not accepted.")
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#token")).to_be_hidden()
        expect(page.locator("#moved-of")).to_contain_text("Not explained: ")
        expect(page.locator("#question")).to_have_text(f"The probability that {HOSTILE} is yes.")
        expect(page.locator(".timeline")).to_have_count(0)
        expect(page.locator("#decision")).to_have_count(0)  # it was trained without costs
        expect(page.locator("#undecided")).to_contain_text("No decision: the model was trained")
        expect(page.locator(".scale .threshold")).to_have_count(0)
        expect(page.locator("#field-plan")).to_have_value(HOSTILE)

        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=guarded, headers=headers, trust_env=False, timeout=60) as client:

            def probability(**values: Any) -> float:
                answer = client.post("predict", json={"customers": [values]})
                return answer.json()["predictions"][0]["probability"]

            says(page, probability(months=12, plan=HOSTILE))
            page.locator("#field-plan").select_option(label="any other")
            says(page, probability(months=12, plan="of another kind"))
            page.locator("#field-plan").select_option(label="missing")
            says(page, probability(months=12))
        for name, text in (("Metrics", "golden_path_requests_total"), ("OpenAPI", "openapi")):
            with page.expect_popup() as opened:  # with the token, which a link alone does not send
                page.get_by_role("link", name=name).click()
            expect(opened.value.locator("body")).to_contain_text(text)
            opened.value.close()
        assert page.locator("main img").count() == 0
        assert page.evaluate("Object.keys({...localStorage, ...sessionStorage})") == []
        assert page.context.cookies() == []
        stayed_at_home(seen, guarded)
