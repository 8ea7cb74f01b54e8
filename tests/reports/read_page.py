"""Read a page as a browser would, to say what stands in it; and what holds for every page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.serving.browser import find_browser, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NO_BROWSER = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome was found")
SCRIPT = "<script>alert(1)</script>"  # in a name; on a page it is text
VOID = {"meta", "br", "link", "img", "input", "hr", "col"}
FOREIGN = {"script", "link", "img", "iframe", "object", "form"}
# The labels of charts that stick out of them.
CUT = """[...document.querySelectorAll('svg.chart')].flatMap(chart => {
  const room = chart.getBoundingClientRect();
  if (!room.width) return [];
  return [...chart.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < room.left - 2 || box.right > room.right + 2
      || box.top < room.top - 2 || box.bottom > room.bottom + 2;
  }).map(text => text.textContent);
})"""


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, its text, its tables by their captions,
    and what was not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.rows: list[list[str]] = []
        self.caption = ""
        self.feed(page)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows, self.caption = [], ""
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)
        if tag == "table":
            self.tables[" ".join(self.caption.split())] = self.rows

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.texts.append(data)
        if "caption" in self.open:
            self.caption += data
        elif {"td", "th"} & {*self.open} and self.rows and self.rows[-1]:
            self.rows[-1][-1] += " " + data

    def having(self, kind: str) -> list[dict[str, Any]]:
        """The attributes of what is of a class."""
        return [held for _, held in self.tags if kind in (held.get("class") or "").split()]

    def row(self, caption: str, first: str) -> list[str]:
        """The cells of a row, found by the begin of the table's caption and of its first cell."""
        (table,) = [t for name, t in self.tables.items() if name.startswith(caption)]
        rows = [[" ".join(cell.split()) for cell in row] for row in table]
        return next(row for row in rows if row and row[0].startswith(first))


def check_alone(source: str) -> Page:
    """The page, which is well-formed, fetches and runs nothing, and whose links and references lead
    to places on it; charts have words."""
    page = Page(source)
    assert page.wrong == [] and page.open == []
    assert not FOREIGN & {tag for tag, _ in page.tags}
    policy = next(held["content"] for _, held in page.tags if "http-equiv" in held)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert not any(key.startswith(("on", "src")) for _, held in page.tags for key in held)
    assert not re.search(r"https?:|url\((?!#)|@import|data:", source)
    places = [held["id"] for _, held in page.tags if "id" in held]
    assert len(places) == len(set(places))
    links = [held["href"] for _, held in page.tags if "href" in held]
    assert all(link[0] == "#" and link[1:] in places for link in links)
    assert set(re.findall(r"url\(#([^)]*)\)", source)) <= set(places)
    charts = page.having("chart")
    assert all(one["role"] == "img" and len(one["aria-label"]) > 30 for one in charts)
    return page


def check_fits(browser: Browser, target: Path) -> None:
    """On a phone and on wider screens nothing sticks out of the page and no label is cut, and the
    browser complains of nothing."""
    for width in (360, 800, 1280):
        with watched(browser, viewport={"width": width, "height": 740}) as seen:
            seen.page.goto(target.as_uri())
            seen.page.evaluate(
                "document.querySelectorAll('details').forEach(one => (one.open = true))"
            )
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide == width, (target.name, width)
            assert seen.page.evaluate(CUT) == [], (target.name, width)
            assert seen.hosts == {""} and seen.complaints == []
