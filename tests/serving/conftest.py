"""The fixtures of `real_service.py`, for every test of this folder; and the browser, if any."""

from __future__ import annotations

from browser import find_browser
from real_service import client, running

__all__ = ["client", "running"]

# Without a browser the page's tests are not collected, and one line says so.
collect_ignore = [] if find_browser() else ["test_browser.py"]


def pytest_terminal_summary(terminalreporter):
    if collect_ignore:
        terminalreporter.write_line(
            "tests/serving/test_browser.py did not run: no Chromium or Chrome was found"
            " (Debian: apt-get install chromium; elsewhere: BROWSER_BINARY=its path)"
        )
