"""A real browser that somebody installed: Chromium or Chrome, driven by Playwright.

Playwright's own browsers are not used: they come by a download of their own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VARIABLE = "BROWSER_BINARY"  # the path of one that is none of these
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ON_A_MAC = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
REFUSED = "Failed to load resource"  # what the browser says of every answer that is no 200


def find_browser() -> str | None:
    """The path of one; None when there is none."""
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    found = (shutil.which(name) for name in NAMES)
    on_a_mac = (path for path in ON_A_MAC if Path(path).is_file())
    return next((path for path in (*found, *on_a_mac) if path), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # slow, and conftest.py imports this module

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, the hosts that it asked for, and what it complained about: errors of scripts, and
    what the content security policy forbade."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def watched(browser: Browser, **options: Any) -> Iterator[Watched]:
    """A page of a context of its own. options: of `Browser.new_context`."""
    context = browser.new_context(**options)
    context.set_default_timeout(10_000)
    seen = Watched(context.new_page())

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            seen.complaints.append(message.text)

    def on_request(request: Any) -> None:
        if not request.url.startswith("data:"):
            seen.hosts.add(urlsplit(request.url).netloc)

    seen.page.on("console", on_console)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("request", on_request)
    try:
        yield seen
    finally:
        context.close()
