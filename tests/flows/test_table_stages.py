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


def run(settings):
    parts = data_stages.ingest(settings)
    return parts, data_stages.validate(settings, parts, settings.var / "page.html")


def page(settings) -> str:
    return (settings.var / "page.html").read_text()


@pytest.fixture
def var(tmp_path):
    (tmp_path / "var").mkdir()
    return tmp_path / "var"


def test_from_file_to_training_table_and_all_of_it_reused(tmp_path, var):
    rows = made_rows()
    rows[3][1] = "old"
    members = settings(save(tmp_path / "table.csv", rows), var)
    parts, valid = run(members)
    table = LabelledTable(members).build_table(valid)
    assert valid.facts.rows.reasons == {"unreadable_value": 1}
    assert sum(table.facts.rows.values()) == 299 and table.facts.leak_check.rows_rebuilt == 0
    assert table.facts.names == ("age", "visits", "plan")
    assert tuple(feature.name for feature in table.facts.schema) == table.facts.names
    assert table.facts.schema[2].categories == ("basic", "plus")
    assert "the batch is accepted" in page(members) and "out_of_range_age" in page(members)
    assert json.loads(valid.path("contract.json").read_text())["rows"]["raw"] == 300
    LabelledTable(members).write_report(parts, valid, table, tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert all(said in report for said in ("left is Yes", "unreadable_value", "age=old"))
    again, valid = run(members)
    table_again = LabelledTable(members).build_table(valid)
    assert again.reused == 1 and valid.reused and table_again.reused
    assert table_again.facts == table.facts
    assert [batch.status for batch in seen(var, "members")] == ["accepted"]


def test_a_file_that_spells_its_categories_anew_is_held_by_column_until_a_person_releases_it(
    tmp_path, var
):
    rows = made_rows()
    run(settings(save(tmp_path / "jan.csv", rows), var))
    # The same categories in another case are the same: nothing to hold.
    spelled = [[*row[:3], row[3].upper() if row[3] != "trial" else "trial", row[4]] for row in rows]
    february = settings(save(tmp_path / "feb.csv", spelled), var)
    plan = run(february)[1].facts.unseen["plan"]
    assert 0.1 < plan["share"] < 0.4 and plan["examples"] == ["trial"]
    assert "Values that are none of the categories" in page(february)

    renamed = [[*row[:3], row[3] and f"{row[3]} <b>", row[4]] for row in rows]
    march = settings(save(tmp_path / "march.csv", renamed), var)
    with pytest.raises(ContractBroken) as caught:
        run(march)
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
    assert "held" in page(march) and "basic &lt;b&gt;" in page(march)
    name = seen(var, "members")[-1].name
    assert last_validated(march).batch != name
    release(var, "members", name)
    run(march)
    assert last_validated(march).batch == name


def test_a_first_batch_that_its_settings_do_not_describe_is_held_unless_a_limit_allows_it(
    tmp_path, var
):
    columns = {"plan": {"type": "category", "values": ["gold"]}}
    rows = [[row[0], row[3] or "none", row[4]] for row in made_rows()]
    file = save(tmp_path / "table.csv", rows, ["member", "plan", "left"])
    with pytest.raises(ContractBroken, match="unseen_share is 1, the limit is at most"):
        run(settings(file, var, columns=columns))
    run(settings(file, var, "--contract.rules.unseen_share.high", "1", columns=columns))
    assert [batch.status for batch in seen(var, "members")] == ["accepted"]


def test_quarantine_shows_the_rows_and_replay_moves_those_that_pass(tmp_path, var, capsys):
    rows = made_rows()
    rows[3][1], rows[4][1] = 130, 140
    file = save(tmp_path / "table.csv", rows)
    members = settings(file, var)
    run(members)
    quarantine.main(members, "out_of_range_age")
    said = capsys.readouterr().out
    assert "300 rows = 298 valid + 2 in quarantine" in said
    assert "age is 0 to 120" in said and "140" in said and "m00004" in said
    columns = {name: dict(c) for name, c in members.source.table.columns.items()}
    columns["age"]["high"] = 135
    replay.main(settings(file, var, columns=columns))
    assert "1 rows of the quarantine pass now" in capsys.readouterr().out
    assert last_validated(members).rows["quarantined"] == 1


def test_quarantine_of_a_wide_table_shows_what_is_at_fault_and_no_more(tmp_path, var, capsys):
    names = [f"measure_{number:02}" for number in range(30)]
    columns = {name: {"type": "number", "low": 0} for name in names}
    rows = [[f"m{n}", *range(30), "Yes" if n % 2 else "No"] for n in range(80)]
    rows[3][8], rows[3][9], rows[4][10], rows[5][11] = -5, "", "ten", "inf"
    file = save(tmp_path / "table.csv", rows, ["member", *names, "left"])
    wide = settings(file, var, columns=columns)
    run(wide)
    quarantine.main(wide)
    said = capsys.readouterr().out
    for each in ("measure_07 = -5", "measure_08 = –", "measure_09 = ten", "measure_10 = inf"):
        assert each in said
    assert "m3" in said and "measure_20" not in said and "quarantine.parquet" in said
    shown = [line for line in said.splitlines() if str(tmp_path)[:12] not in line]
    assert max(map(len, shown)) <= 150


def test_what_is_refused_leaves_no_table_behind(tmp_path, var):
    rows = [[m, a, v, p, "Yes"] for m, a, v, p, _ in made_rows(40)]
    with pytest.raises(UserError, match="one class only"):
        run(settings(save(tmp_path / "table.csv", rows), var))
    small = settings(save(tmp_path / "table.csv", made_rows(10)), var)
    _, valid = run(small)
    with pytest.raises(UserError, match="the table is too small: 10 valid rows"):
        LabelledTable(small).build_table(valid)
    assert not list((var / "stages").glob("features-*"))
