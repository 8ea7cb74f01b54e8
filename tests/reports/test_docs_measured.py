"""What benchmarks and drills measured, as it stands in the docs."""

from __future__ import annotations

import json
from pathlib import Path

from reports.measured import fill_operations, speed_page
from tests.bench.figures import figure

ROOT = Path(__file__).parents[2]
PAGE = "# A\n<!-- drill -->\n<!-- /drill -->\nB\n<!-- year -->\nold\n<!-- /year -->\nC\n"
DRILL = {"drill": {"tried": 109, "survived": 107, "seconds": 1500.0}}


def test_what_was_not_measured_is_left_as_it_is():
    assert fill_operations(PAGE, {}) == PAGE


def test_the_drill_says_how_many_of_how_many():
    page = fill_operations(PAGE, DRILL)
    assert "killed it 109 times" in " ".join(page.split())
    assert "In 107 of these cases" in " ".join(page.split())
    again = fill_operations(page, DRILL)
    assert again == page and page.startswith("# A\n") and page.endswith("old\n<!-- /year -->\nC\n")


def test_the_year_is_shown_with_its_table_its_story_and_its_limits():
    found = json.loads((ROOT / "docs" / "figures.json").read_text(encoding="utf-8"))["year"]
    page = fill_operations(PAGE, {"year": found})
    assert "old" not in page and page.endswith("<!-- /year -->\nC\n")
    for line in found["rate"]["table"]:
        assert f"\n{line}\n" in page
    assert (
        max(len(line) for line in page.partition("```text")[2].partition("```")[0].split("\n")) < 80
    )
    said = " ".join(page.split())
    for paragraph in found["rate"]["told"] + found["none"]["told"]:
        assert paragraph in said
    for item in found["figures"]:
        assert f"| {item['name']} | " in page


def test_a_challenger_in_shadow_has_a_table_of_its_own():
    figures = [
        figure("start to ready", 2.0, "s", 5),
        figure("one row, a slow challenger in shadow: p99", 5.0, "ms", peers={"without": 4.0}),
        figure("one row, a slow challenger in shadow: p99 over that without", 1.1, "times", 1.2),
        figure("  rows that it scored", 70, "rows"),
        figure("load average of a minute, before", 1.0, ""),
    ]
    alone = speed_page({"serving": [figures[0], figures[-1]]})
    both = speed_page({"serving": figures})
    assert "in shadow" not in alone and both.startswith(alone)
    shadow = both.removeprefix(alone)
    assert "| one row, a slow challenger in shadow: p99 | 5 ms |  | 4 |" in shadow
    assert "p99 over that without | 1.1 times | at most 1.2 |  |" in shadow
    assert "| rows that it scored | 70 rows |" in shadow
