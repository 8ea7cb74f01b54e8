"""From files to valid rows: what is read again, what is held, what a replay moves."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import duckdb
import pytest
from logs import save, write_log, write_preset

from configs.duck import parquet
from configs.load import load
from configs.settings import Settings
from features.build import build_table
from flows import data_stages, replay
from flows.acceptance import last_validated
from ingestion.batches import dataset_of, release, seen
from ingestion.validate import QUARANTINE, TRANSACTIONS, ContractBroken


@pytest.fixture
def shop(tmp_path) -> Path:
    """A folder with a preset that reads its CSV files."""
    write_preset(tmp_path / "shop.yaml", str(tmp_path / "*.csv"))
    return tmp_path


def settings_of(shop: Path, *arguments: str, var: str = "var") -> Settings:
    return load(str(shop / "shop.yaml"), ["--var", str(shop / var), *arguments], {})


def run(settings: Settings):
    """Ingest and validate; returns the parts and the validated stage."""
    parts = data_stages.ingest(settings)
    page = settings.var / "page.html"
    page.parent.mkdir(exist_ok=True)
    return parts, data_stages.validate(settings, parts, page)


def rows(path: Path, columns: str = "*") -> list[tuple]:
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM {parquet(path)} ORDER BY ALL").fetchall()


# --- incremental ------------------------------------------------------------------------------


def test_a_second_run_with_a_new_file_reads_that_one_and_equals_a_run_from_scratch(shop):
    write_log(shop / "a.csv", days=160)
    parts, _ = run(settings_of(shop))
    assert (len(parts.paths), parts.reused) == (1, 0)
    write_log(shop / "b.csv", first=date(2024, 6, 9), days=80)
    parts, grown = run(settings_of(shop))
    assert (len(parts.paths), parts.reused) == (2, 1)
    scratch_parts, scratch = run(settings_of(shop, var="other"))
    assert scratch_parts.reused == 0 and scratch_parts.batch == parts.batch
    assert grown.files == scratch.files
    tables = []
    for stage, name in ((grown, "one"), (scratch, "two")):
        settings = settings_of(shop)
        build_table(stage.path(TRANSACTIONS), shop / f"{name}.parquet", settings.features)
        tables.append(rows(shop / f"{name}.parquet"))
    assert tables[0] == tables[1] and len(tables[0]) > 50


def test_files_that_overlap_count_each_line_once(shop):
    """As the two sheets of Online Retail do."""
    lines = write_log(shop / "whole.csv")
    _, whole = run(settings_of(shop))
    (shop / "whole.csv").unlink()
    save(shop / "first.csv", lines[:1600])
    save(shop / "second.csv", lines[1500:])
    _, both = run(settings_of(shop, var="other"))
    assert both.facts["rows"]["reasons"]["duplicate"] == 100
    assert rows(both.path(TRANSACTIONS)) == rows(whole.path(TRANSACTIONS))


# --- held and released ------------------------------------------------------------------------

MORE = date(2024, 8, 28)  # the day after the first log ends


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"price": 3.0}, "price_change"),
        ({"anonymous": 0.4}, "anonymous_change"),
        ({"per_day": 3}, "volume_change"),
        ({"per_day": 40}, "volume_change"),
    ],
)
def test_a_batch_unlike_the_last_one_is_held_until_a_person_releases_it(shop, change, rule):
    write_log(shop / "a.csv")
    run(settings_of(shop))
    write_log(shop / "b.csv", first=MORE, days=30, **change)
    settings = settings_of(shop)
    with pytest.raises(ContractBroken) as held:
        run(settings)
    (batch,) = [b for b in seen(settings.var, "shop") if b.status == "held"]
    assert f"the batch {batch.name} is held: {rule} is" in str(held.value)
    assert f"BATCH={batch.name}" in held.value.next_step
    assert "the batch is held" in (settings.var / "page.html").read_text()
    with pytest.raises(ContractBroken):  # asking again does not help
        run(settings)
    released = release(settings.var, dataset_of(settings), batch.name[:6])
    assert released.status == "released" and released.by
    parts, _ = run(settings)
    assert parts.batch == batch.name
    write_log(shop / "c.csv", first=date(2024, 9, 27), days=30, **change)  # goes on like the last
    run(settings)
    assert [b.status for b in seen(settings.var, "shop")] == ["accepted", "released", "accepted"]


def test_a_batch_that_goes_on_like_the_last_one_is_accepted(shop):
    write_log(shop / "a.csv")
    run(settings_of(shop))
    write_log(shop / "b.csv", first=MORE, days=30)
    run(settings_of(shop))
    assert [b.status for b in seen(settings_of(shop).var, "shop")] == ["accepted"] * 2


def test_a_history_that_shrinks_is_held(shop):
    lines = write_log(shop / "a.csv")
    run(settings_of(shop))
    save(shop / "a.csv", lines[100:])
    with pytest.raises(ContractBroken, match=r"history_change is -0\.03"):
        run(settings_of(shop))


# --- quarantine and replay --------------------------------------------------------------------


def test_a_replay_after_a_rule_was_mended_moves_the_rows_that_now_pass(shop, capsys):
    lines = write_log(shop / "a.csv")
    lines += [
        "9,12345,X,1,6000,2024-05-01 10:00:00,c1,UK",
        "9,12345,Y,1,7000,2024-05-01 10:00:00,c1,UK",
    ]
    save(shop / "a.csv", lines)
    settings = settings_of(shop)
    _, before = run(settings)
    assert before.facts["rows"]["reasons"]["impossible_price"] == 2
    replay.main(settings_of(shop, "--contract.rules.impossible_price.high", "6500"))
    said = capsys.readouterr().out
    assert "1 rows left the quarantine, 0 entered it." in said and "source has changed" not in said
    (record,) = (settings.var / "replays").glob("*/replay.json")
    content = json.loads(record.read_text())
    assert (content["moved"], content["entered"], content["from"]) == (1, 0, content["to"])
    after = last_validated(settings)
    assert after.facts["rows"]["valid"] == before.facts["rows"]["valid"] + 1
    assert {row[0] for row in rows(after.folder / QUARANTINE, "batch")} == {after.batch}
    assert 6000.0 in {row[0] for row in rows(after.folder / TRANSACTIONS, "unit_price")}


def test_a_replay_after_the_source_was_mended_reads_it_again(shop, capsys):
    lines = write_log(shop / "a.csv")
    broken = [line.replace(",UK", ",UK").replace("2024-05-0", "2024/May/0") for line in lines]
    save(shop / "a.csv", broken)
    settings = settings_of(shop, "--contract.rules.type_of_invoiced_at.high", "0.2")
    _, before = run(settings)
    unread = before.facts["rows"]["reasons"]["unreadable_value"]
    assert unread == 9 * 12
    save(shop / "a.csv", lines)
    replay.main(settings)
    assert f"{unread - _anonymous(lines)} rows left the quarantine" in capsys.readouterr().out


def _anonymous(lines: list[str]) -> int:
    """Of the mended lines, those that stay in quarantine: they have no customer."""
    return sum("2024-05-0" in line and line.endswith(",,UK") for line in lines)


def test_a_stricter_rule_moves_rows_the_other_way(shop, capsys):
    write_log(shop / "a.csv")
    run(settings_of(shop))
    replay.main(settings_of(shop, "--contract.rules.impossible_quantity.high", "7"))
    said = capsys.readouterr().out
    assert "0 rows left the quarantine" in said and " 0 entered it" not in said
