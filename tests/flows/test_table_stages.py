"""A labelled table through the stages: reuse, the page, quarantine and replay, what is refused."""

from __future__ import annotations

import json

import pytest
from made_table import made_rows, save, settings

from common.errors import UserError
from flows import data_stages
from flows.acceptance import last_validated
from flows.commands import quarantine, replay
from flows.table_stages import LabelledTable
from ingestion.batches import release, seen
from ingestion.outcome import ContractBroken

pytestmark = pytest.mark.slow


def run(found, page):
    parts = data_stages.ingest(found)
    return parts, data_stages.validate(found, parts, page)


def test_from_file_to_training_table_and_all_of_it_reused(tmp_path):
    rows = made_rows()
    rows[3][1] = "old"
    file = save(tmp_path / "table.csv", rows)
    found = settings(file, tmp_path / "var")
    parts, valid = run(found, tmp_path / "page.html")
    table = LabelledTable(found).build_table(valid)
    assert valid.facts["rows"]["reasons"] == {"unreadable_value": 1}
    assert sum(table.facts.rows.values()) == 299
    assert table.facts.names == ("age", "visits", "plan")
    assert tuple(feature.name for feature in table.facts.schema) == table.facts.names
    assert table.facts.schema[2].categories == ("basic", "plus")
    assert table.facts.leak_check.rows_rebuilt == 0
    page = (tmp_path / "page.html").read_text()
    assert "the batch is accepted" in page and "out_of_range_age" in page
    assert json.loads(valid.path("contract.json").read_text())["rows"]["raw"] == 300
    LabelledTable(found).write_report(parts, valid, table, tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "left is Yes" in report and "unreadable_value" in report and "age=old" in report
    again, valid = run(found, tmp_path / "page.html")
    assert again.reused == 1 and valid.reused
    table_again = LabelledTable(found).build_table(valid)
    assert table_again.reused and table_again.facts == table.facts
    assert [batch.status for batch in seen(found.var.absolute(), "members")] == ["accepted"]


def test_a_file_that_spells_its_categories_anew_is_held_by_column_until_a_person_releases_it(
    tmp_path,
):
    var, page = tmp_path / "var", tmp_path / "page.html"
    rows = made_rows()
    run(settings(save(tmp_path / "jan.csv", rows), var), page)
    # The same categories in another case are the same: nothing to hold.
    spelled = [[*row[:3], row[3].upper() if row[3] != "trial" else "trial", row[4]] for row in rows]
    _, valid = run(settings(save(tmp_path / "feb.csv", spelled), var), page)
    share = valid.facts["level"]["unseen"]["plan"]["share"]
    assert 0.1 < share < 0.4 and valid.facts["level"]["unseen"]["plan"]["examples"] == ["trial"]
    assert "Values that are none of the categories" in page.read_text()

    renamed = [[*row[:3], row[3] and f"{row[3]} <b>", row[4]] for row in rows]
    march = settings(save(tmp_path / "march.csv", renamed), var)
    with pytest.raises(ContractBroken) as caught:
        run(march, page)
    said = f"{caught.value.what} {caught.value.where} {caught.value.next_step}"
    for part in (
        "unseen_share is 1, the limit is at most 0.5",
        "also broken: unseen_change",
        "column plan: 100.0% of the values are not among its categories ('basic <b>', ",
        "contract.rules.unseen_share",
        "source.table.columns",
        "accept-batch",
    ):
        assert part in said
    assert "held" in page.read_text() and "basic &lt;b&gt;" in page.read_text()
    assert last_validated(march).batch != seen(var.absolute(), "members")[-1].name
    release(var.absolute(), "members", seen(var.absolute(), "members")[-1].name)
    run(march, page)
    assert last_validated(march).batch == seen(var.absolute(), "members")[-1].name


def test_a_first_batch_that_its_settings_do_not_describe_is_held_and_a_limit_of_ones_own_holds(
    tmp_path,
):
    columns = {"plan": {"type": "category", "values": ["gold"]}}
    rows = [[row[0], row[3] or "none", row[4]] for row in made_rows()]
    file, page = save(tmp_path / "table.csv", rows, ["member", "plan", "left"]), tmp_path / "p.html"
    with pytest.raises(ContractBroken, match="unseen_share is 1, the limit is at most"):
        run(settings(file, tmp_path / "var", columns=columns), page)
    high = ("--contract.rules.unseen_share.high", "1")
    run(settings(file, tmp_path / "var", *high, columns=columns), page)
    assert [batch.status for batch in seen(tmp_path / "var", "members")] == ["accepted"]


def test_quarantine_shows_the_rows_and_replay_moves_those_that_pass(tmp_path, capsys):
    rows = made_rows()
    rows[3][1], rows[4][1] = 130, 140
    file, var = save(tmp_path / "table.csv", rows), tmp_path / "var"
    found = settings(file, var)
    run(found, tmp_path / "page.html")
    quarantine.main(found, "out_of_range_age")
    said = capsys.readouterr().out
    assert "300 rows = 298 valid + 2 in quarantine" in said
    assert "age is 0 to 120" in said and "140" in said and "m00004" in said
    columns = {name: dict(c) for name, c in found.source.table.columns.items()}
    columns["age"]["high"] = 135
    replay.main(settings(file, var, columns=columns))
    assert "1 rows of the quarantine pass now" in capsys.readouterr().out
    assert last_validated(found).rows["quarantined"] == 1


def test_quarantine_of_a_wide_table_shows_what_is_at_fault_and_no_more(tmp_path, capsys):
    names = [f"measure_{number:02}" for number in range(30)]
    columns = {name: {"type": "number", "low": 0} for name in names}
    rows = [[f"m{n}", *range(30), "Yes" if n % 2 else "No"] for n in range(80)]
    rows[3][8], rows[3][9], rows[4][10], rows[5][11] = -5, "", "ten", "inf"
    file = save(tmp_path / "table.csv", rows, ["member", *names, "left"])
    found = settings(file, tmp_path / "var", columns=columns)
    run(found, tmp_path / "page.html")
    quarantine.main(found)
    said = capsys.readouterr().out
    for each in ("measure_07 = -5", "measure_08 = –", "measure_09 = ten", "measure_10 = inf"):
        assert each in said
    assert "m3" in said and "measure_20" not in said and "quarantine.parquet" in said
    shown = [line for line in said.splitlines() if str(tmp_path)[:12] not in line]
    assert max(map(len, shown)) <= 150


def test_what_is_refused_leaves_no_table_behind(tmp_path):
    rows = [[m, a, v, p, "Yes"] for m, a, v, p, _ in made_rows(40)]
    found = settings(save(tmp_path / "table.csv", rows), tmp_path / "var")
    with pytest.raises(UserError, match="one class only"):
        run(found, tmp_path / "page.html")
    found = settings(save(tmp_path / "table.csv", made_rows(10)), tmp_path / "var")
    _, valid = run(found, tmp_path / "page.html")
    with pytest.raises(UserError, match="the table is too small: 10 valid rows"):
        LabelledTable(found).build_table(valid)
    assert not list((tmp_path / "var" / "stages").glob("features-*"))
