"""From files to valid rows: what is read again, what is held, what a replay moves."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import duckdb
import pytest
from logs import save, write_log, write_preset

from common.duck import parquet
from common.errors import UserError
from configs.load import load
from configs.settings import Settings
from flows import data_stages
from flows.acceptance import last_validated
from flows.commands import quarantine, replay
from flows.report import warnings
from ingestion.batches import release, seen
from ingestion.outcome import QUARANTINE, TRANSACTIONS, ContractBroken

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(tmp_path) -> Path:
    """A folder with a preset that reads its CSV files."""
    write_preset(tmp_path / "shop.yaml", str(tmp_path / "*.csv"))
    return tmp_path


def settings_of(shop: Path, *arguments: str, var: str = "var") -> Settings:
    return load(str(shop / "shop.yaml"), ["--var", str(shop / var), *arguments], {})


def costly(price: int) -> str:
    """A line that the rule `impossible_price` keeps out: it allows 5,000."""
    return f"9,12345,X,1,{price},2024-05-01 10:00:00,c1,UK"


def statuses(shop: Path) -> list[str]:
    return [batch.status for batch in seen(shop / "var", "shop")]


def held(shop: Path) -> str:
    (name,) = [batch.name for batch in seen(shop / "var", "shop") if batch.status == "held"]
    return name


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


def test_files_that_overlap_count_each_line_once(shop):
    """As the two sheets of Online Retail do."""
    lines = write_log(shop / "whole.csv", days=160)
    _, whole = run(settings_of(shop))
    (shop / "whole.csv").unlink()
    save(shop / "first.csv", lines[:1600])
    save(shop / "second.csv", lines[1500:])
    _, both = run(settings_of(shop, var="other"))
    assert both.facts.rows.reasons["duplicate"] == 100
    assert rows(both.path(TRANSACTIONS)) == rows(whole.path(TRANSACTIONS))


def test_files_of_one_name_in_two_folders_are_distinguished(shop, capsys):
    for name, first in (("x", date(2024, 1, 1)), ("y", date(2024, 5, 1))):
        (shop / name).mkdir()
        lines = write_log(shop / name / "jan.csv", first=first, days=121)
        lines[4] = f"{name},12345,X,1,6000,{first} 10:00:00,c1,UK"
        save(shop / name / "jan.csv", lines)
    write_preset(shop / "shop.yaml", str(shop / "*" / "jan.csv"))
    _, stage = run(settings_of(shop))
    kept_out = rows(stage.path(QUARANTINE), "unit_price, source, source_row")
    assert {(6000.0, "x/jan.csv", 5), (6000.0, "y/jan.csv", 5)} <= set(kept_out)
    replay.main(settings_of(shop, "--contract.rules.impossible_price.high", "6500"))
    assert "2 rows of the quarantine pass now" in capsys.readouterr().out


def test_a_stage_with_a_row_of_the_future_is_not_reused(shop):
    lines = write_log(shop / "a.csv", days=160)
    save(shop / "a.csv", [*lines, "9,12345,X,1,2.0,2999-05-01 10:00:00,c1,UK"])
    assert run(settings_of(shop))[1].facts.rows.reasons["future_time"] == 1
    assert not run(settings_of(shop))[1].reused
    save(shop / "a.csv", lines)
    run(settings_of(shop))
    assert run(settings_of(shop))[1].reused


def test_records_that_were_altered_are_refused_with_what_to_do(shop):
    write_log(shop / "a.csv", days=160)
    settings = settings_of(shop)
    run(settings)
    (batch,) = (settings.var / "batches" / "shop").iterdir()
    (pointer,) = (settings.var / "validated").iterdir()
    whole = {file: file.read_text() for file in (batch, pointer)}

    pointer.write_text(whole[pointer].replace("stages/", "elsewhere/"))
    for command in (replay.main, quarantine.main):
        with pytest.raises(UserError, match="altered") as caught:
            command(settings)
        assert caught.value.where == str(pointer) and "make train" in caught.value.next_step
    run(settings)
    assert pointer.read_text() == whole[pointer], "it is written anew"

    batch.write_text(whole[batch].replace('"accepted"', '"released"'))
    batch.with_name("copy.json").write_text(whole[batch])
    for file in (batch, batch.with_name("copy.json")):
        with pytest.raises(UserError, match="the record of a batch") as caught:
            run(settings)
        assert caught.value.where == str(file) and "remove it" in caught.value.next_step
        file.unlink()
    run(settings)
    assert statuses(shop) == ["accepted"]


# --- held and released ------------------------------------------------------------------------

MORE = date(2024, 6, 9)  # the day after the first log ends


@pytest.fixture
def grown(shop) -> Path:
    """A log of 160 days was accepted; `more(shop)` adds a month to it."""
    write_log(shop / "a.csv", days=160)
    run(settings_of(shop))
    return shop


def more(shop: Path, **change) -> None:
    write_log(shop / "b.csv", first=MORE, days=30, **change)


def test_a_batch_that_differs_from_the_last_one_is_held(grown):
    for change, rule in (
        ({"anonymous": 0.4}, "anonymous_change"),
        ({"per_day": 3}, "volume_change"),
        ({"per_day": 40}, "volume_change"),
    ):
        more(grown, **change)
        with pytest.raises(ContractBroken, match=f"is held: {rule} is"):
            run(settings_of(grown))
    (grown / "b.csv").unlink()
    save(grown / "a.csv", write_log(grown / "a.csv", days=160)[60:])
    with pytest.raises(ContractBroken, match=r"history_change is -0\.03"):
        run(settings_of(grown))


def test_a_held_batch_goes_on_when_a_person_releases_it(grown, capsys):
    more(grown, price=3.0)
    settings = settings_of(grown)
    for _ in range(2):  # the same command again does not help
        with pytest.raises(ContractBroken) as error:
            run(settings)
    name = held(grown)
    assert f"the batch {name} is held: price_change is" in str(error.value)
    assert f"BATCH={name}" in error.value.next_step
    assert "the batch is held" in (settings.var / "page.html").read_text()
    quarantine.main(settings)
    assert "This batch is held: price_change is" in capsys.readouterr().out
    released = release(settings.var, settings.dataset, name[:6])
    assert released.status == "released" and released.by
    parts, _ = run(settings)
    assert parts.batch == name
    write_log(grown / "c.csv", first=date(2024, 7, 9), days=30, price=3.0)  # like the last one
    run(settings)
    assert statuses(grown) == ["accepted", "released", "accepted"]


def test_a_rule_that_keeps_out_a_large_share_holds_even_the_first_batch(shop):
    """A limit made for another shop: the values are right, and the labels would be an artefact."""
    write_log(shop / "a.csv", price=4500.0, days=160)  # a third of the prices is 9,000
    settings = settings_of(shop)
    with pytest.raises(ContractBroken) as error:
        run(settings)
    assert "impossible_price keeps out 3" in error.value.what
    assert "unit_price is at most 5,000; quantiles found: 1% 2,250" in error.value.what
    assert "contract.rules.impossible_price" in error.value.next_step
    release(settings.var, settings.dataset, held(shop))
    _, stage = run(settings)
    (warning,) = warnings(stage.facts)
    assert warning.endswith("(contract.rules.impossible_price)")
    _, stage = run(settings_of(shop, "--contract.rules.impossible_price.high", "20000"))
    assert warnings(stage.facts) == []


def test_a_batch_that_goes_on_like_the_last_one_is_accepted_and_a_held_one_before_it_is_over(grown):
    more(grown, price=3.0)
    with pytest.raises(ContractBroken):
        run(settings_of(grown))
    name = held(grown)
    more(grown)  # repaired
    run(settings_of(grown))
    with pytest.raises(UserError, match=f"the batch {name} was held on .* accepted since"):
        release(grown / "var", "shop", name)
    (grown / "b.csv").unlink()
    run(settings_of(grown))
    assert sorted(statuses(grown)) == ["accepted", "accepted", "held"]


# --- quarantine and replay --------------------------------------------------------------------


def test_a_replay_by_another_rule_moves_rows_both_ways_and_records_it(shop, capsys):
    lines = [*write_log(shop / "a.csv", days=160), costly(6000), costly(7000)]
    save(shop / "a.csv", lines)
    settings = settings_of(shop)
    _, before = run(settings)
    assert before.facts.rows.reasons["impossible_price"] == 2
    replay.main(settings_of(shop, "--contract.rules.impossible_price.high", "6500"))
    said = capsys.readouterr().out
    assert "1 rows of the quarantine pass now" in said and "source has changed" not in said
    assert "make train CONFIG=" in said
    (record,) = (settings.var / "replays").glob("*/replay.json")
    content = json.loads(record.read_text())
    counts = [content[name] for name in ("passed", "gone", "failed", "new")]
    assert counts == [1, 0, 0, 0] and content["from"] == content["to"]
    after = last_validated(settings)
    assert after.rows["valid"] == before.facts.rows.valid + 1
    assert {row[0] for row in rows(after.folder / QUARANTINE, "batch")} == {after.batch}
    assert (6000.0,) in rows(after.folder / TRANSACTIONS, "unit_price")
    replay.main(settings_of(shop, "--contract.rules.impossible_quantity.high", "7"))
    said = capsys.readouterr().out
    assert "0 rows of the quarantine pass now" in said
    assert int(re.search(r"([\d,]+) rows that were valid are in", said)[1].replace(",", "")) > 100


def test_a_replay_after_the_source_was_repaired_reads_it_again(shop, capsys):
    lines = write_log(shop / "a.csv", days=160)
    save(shop / "a.csv", [line.replace("2024-05-0", "2024/May/0") for line in lines])
    settings = settings_of(shop, "--contract.rules.type_of_invoiced_at.high", "0.2")
    _, before = run(settings)
    unread = before.facts.rows.reasons["unreadable_value"]
    assert unread == 9 * 12
    save(shop / "a.csv", lines)
    replay.main(settings)
    anonymous = sum("2024-05-0" in line and line.endswith(",,UK") for line in lines)
    said = " ".join(capsys.readouterr().out.split())
    assert "0 rows of the quarantine pass now" in said, "they are other rows now"
    assert f"{unread} quarantined rows are not in it any more as they were" in said
    assert f"{anonymous} are new" in said and f"unreadable_value {unread} 0 -{unread}" in said


def test_a_replay_tells_rows_that_moved_in_the_file_from_rows_that_were_taken_out(shop, capsys):
    lines = [*write_log(shop / "a.csv", days=160), costly(6000)]
    save(shop / "a.csv", lines)
    run(settings_of(shop))
    clean = next(n for n, line in enumerate(lines) if not line.endswith(",,UK"))
    (shop / "a.csv").unlink()
    for left, gone in ((lines[:clean] + lines[clean + 1 :], 0), (lines[:-1], 1)):
        save(shop / "renamed.csv", left)
        replay.main(settings_of(shop))
        said = " ".join(capsys.readouterr().out.split())
        assert "0 rows of the quarantine pass now" in said and "The source has changed" in said
        assert f"{gone} quarantined rows are not in it any more as they were, 0 are new" in said


@pytest.mark.parametrize(
    ("passed", "gone", "reconciles"), [(1, 0, True), (0, 0, False), (1, 1, False)]
)
def test_a_replay_reconciles_only_if_it_accounts_for_every_row(passed, gone, reconciles):
    rows = {"raw": 10, "valid": 8, "quarantined": 2, "reasons": {}}
    fewer = rows | {"valid": 9, "quarantined": 1}
    assert replay.Replay(rows, fewer, passed, gone, failed=0, new=0).reconciles is reconciles


def test_a_replay_that_is_held_keeps_what_was_before(shop, capsys):
    save(shop / "a.csv", [*write_log(shop / "a.csv", days=160), costly(6000)])
    _, first = run(settings_of(shop))
    more(shop, price=3.0)
    settings = settings_of(shop, "--contract.rules.impossible_price.high", "6500")
    with pytest.raises(ContractBroken, match="held"):
        replay.main(settings)
    assert last_validated(settings).folder == first.folder
    release(settings.var, "shop", held(shop))
    replay.main(settings)
    assert "1 rows of the quarantine pass now" in capsys.readouterr().out


def test_the_quarantine_of_a_refused_batch_can_be_looked_into(shop, capsys):
    lines = write_log(shop / "a.csv", anonymous=0.0, days=160)
    free = [line.replace(",2.0,", ",0,").replace(",1.0,", ",0,") for line in lines]
    save(shop / "a.csv", free)
    settings = settings_of(shop)
    with pytest.raises(ContractBroken, match="valid_share"):
        run(settings)
    quarantine.main(settings, "zero_price")
    said = capsys.readouterr().out
    assert "This batch is refused: the batch breaks the data contract: valid_share" in said
    assert "zero_price" in said and "a.csv" in said
    with pytest.raises(UserError, match="no row is in quarantine for 'free'"):
        quarantine.main(settings, "free")
    with pytest.raises(UserError, match="no batch of shop was accepted yet"):
        replay.main(settings)
    save(shop / "a.csv", lines)
    run(settings)
    capsys.readouterr()
    quarantine.main(settings)
    assert "refused" not in capsys.readouterr().out
