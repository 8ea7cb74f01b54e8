"""The contract's page: whole in itself, complete, and safe to open."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from read_page import check_alone

from configs.rules import Contract
from ingestion.batches import Batch
from ingestion.contract import batch_rules, change_rules, in_words, row_rules, to_expectation
from ingestion.facts import Finding
from ingestion.validate import ALL
from reports.contract import write_contract_page

ROWS = {"raw": 1067371, "valid": 794159, "quarantined": 273212, "reasons": {}}
MEASURED = batch_rules(Contract(), ALL)
RULES = {**MEASURED, **row_rules(Contract(), ALL)}
CHANGES = change_rules(Contract())
HOSTILE = "<script>alert('x')</script>\"&"


def finding(name, rule, **change) -> Finding:
    check = to_expectation(name, rule)
    found = Finding(
        *(name, check["type"], rule.severity, True, 5, rule.low, rule.high, rule.why),
        column=rule.column or rule.measure,
        rule=in_words(rule),
    )
    return replace(found, **change)


KEPT = [finding(name, rule) for name, rule in RULES.items()]
COMPARED = [finding(name, rule) for name, rule in CHANGES.items()]
HELD = Batch("b2", "shop", "held", "2026-01-02T00:00:00", "rules", "b1", {}, ["why"])


def page(folder: Path, findings: list[Finding], rows: dict = ROWS, *more) -> str:
    write_contract_page(folder / "contract.html", rows, findings, "b2", *more)
    text = (folder / "contract.html").read_text(encoding="utf-8")
    check_alone(text)
    return text


def broken_row(text: str) -> str:
    (row,) = re.findall(r'<tr class="broken">.*?</tr>', text, re.DOTALL)
    return row


def test_an_accepted_batch_says_so_with_its_counts_and_every_rule_with_its_reason(tmp_path):
    text = page(tmp_path, KEPT)
    assert "the batch is accepted" in text and "refused" not in text and "✗" not in text
    assert all(f"<b>{figure}</b>" in text for figure in ("1,067,371", "794,159", "273,212"))
    for name, rule in RULES.items():
        assert f"<code>{name}</code>" in text
        assert rule.why.replace("'", "&#39;") in text


def test_a_refused_batch_names_what_is_broken_with_figure_and_limit(tmp_path):
    broken = replace(KEPT[6], success=False, found=0.71, low=None, high=0.5)
    text = page(tmp_path, [*KEPT[:6], broken, *KEPT[7:]])
    assert "the batch is refused" in text and "accepted" not in text
    row = broken_row(text)
    assert broken.code in row and ">0.71<" in row and ">at most 0.5<" in row


def test_a_held_batch_says_beside_what_and_how_it_is_released(tmp_path):
    broken = replace(COMPARED[1], success=False, found=-0.7)
    text = page(tmp_path, KEPT, ROWS, [COMPARED[0], broken, *COMPARED[2:]], HELD)
    assert "the batch is held" in text and "make accept-batch BATCH=b2" in text
    assert broken.code in broken_row(text) and ">-0.7<" in broken_row(text)
    released = replace(HELD, status="released", by="ada")
    text = page(tmp_path, KEPT, ROWS, [broken], released)
    assert "the batch is released" in text and "ada" in text and "held</span>" not in text


def test_a_warning_stops_nothing(tmp_path):
    text = page(tmp_path, [replace(KEPT[0], success=False, severity="warn"), *KEPT[1:]])
    assert "the batch is accepted" in text and "! warning" in text


def test_hostile_values_are_shown_and_never_run(tmp_path):
    bad = [replace(f, code=HOSTILE, why=HOSTILE, found=HOSTILE, low=HOSTILE) for f in KEPT[:1]]
    hostile_row = replace(KEPT[-1], code=HOSTILE, why=HOSTILE, rule=HOSTILE)
    assert "&lt;script&gt;" in page(tmp_path, [*bad, hostile_row])


def test_any_figure_and_an_empty_batch_have_a_page(tmp_path):
    figures = [None, 0, 0.0, 12345678, 1e-9, ["a", "b"], float("nan"), True]
    assert page(tmp_path, [replace(f, found=found) for f, found in zip(KEPT, figures)])
    nothing = [replace(f, found=None, success=False) for f in KEPT]
    text = page(tmp_path, nothing, {"raw": 0, "valid": 0, "quarantined": 0, "reasons": {}})
    assert "<b>0</b> rows in" in text and "no value" in text


def test_a_few_rows_of_a_million_do_not_read_as_none(tmp_path):
    shown = {0: "–", 1: "&lt; 0.001 %", 20: "0.002 %", 1067: "0.1 %", 243007: "22.8 %"}
    for rows, share in shown.items():
        text = page(tmp_path, [replace(KEPT[-1], found=rows)])
        assert f'<td class="number">{share}</td>' in text
