"""`make score` of a log: who is scored when, what is official, and what a key's bytes depend on."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from full_disk import files_of_at_most
from logs import save, write_log, write_preset
from made_champion import make_champion

from common.errors import UserError
from common.files import read_record, sha256_of, write_record
from configs.command import run_command
from configs.load import load
from configs.settings import Settings
from flows import data_stages, score
from flows.clock import today
from flows.kept_scores import RECORD, read_scores
from flows.score import score_log
from registry.champion import the_champion
from serving.batch import CSV, PARQUET

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FIRST = date(2024, 1, 1)
DAY = "2024-06-01"
FILES = (PARQUET, CSV, RECORD)


@dataclass(frozen=True)
class Shop:
    """A folder with a log of 180 days, from 1 January 2024, and a champion."""

    folder: Path
    name: str = "shop"

    def settings(self, *arguments: str) -> Settings:
        return load(self.preset, ["--var", str(self.var), *arguments], {})

    @property
    def preset(self) -> str:
        return str(self.folder / f"{self.name}.yaml")

    @property
    def var(self) -> Path:
        return self.folder / "var"

    @property
    def scores(self) -> Path:
        return self.var / "scores" / "shop"

    def place(self, day: str = DAY) -> Path:
        return self.scores / f"as_of={day}"

    def beside(self) -> Path:
        (folder,) = (self.place() / "beside").iterdir()
        return folder

    def score(self, capsys, *arguments: str, day: str | None = DAY, rc: int = 0) -> str:
        """Type the command; returns what it said."""
        words = ["--config", self.preset, "--var", str(self.var), *arguments]
        words += [] if day is None else ["--as-of", day]
        code = run_command("flows.score", score.ABOUT, score.main, words, options=score.OPTIONS)
        said = capsys.readouterr()
        assert code == rc, said.out + said.err
        assert "Traceback" not in said.err
        return said.out + said.err


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("made") / "50 % off [x]")
    shop.folder.mkdir()
    write_preset(shop.folder / "shop.yaml", str(shop.folder / "*.csv"))
    write_log(shop.folder / "a.csv", FIRST, 180)
    make_champion(shop.settings())
    return shop


@pytest.fixture
def shop(made) -> Shop:
    """The same with nothing scored yet. MLflow's folder cannot be copied, so it is shared."""
    for name in ("scores", "batches", "validated", "refused"):
        shutil.rmtree(made.var / name, ignore_errors=True)
    for file in made.folder.glob("*.csv"):
        file.unlink()
    write_preset(made.folder / "shop.yaml", str(made.folder / "*.csv"))
    write_log(made.folder / "a.csv", FIRST, 180)
    return made


def sums(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in FILES}


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def one_line(said: str) -> str:
    return " ".join(said.split())


# --- who is scored, and when ----------------------------------------------------------------------


def test_all_customers_before_the_day_are_scored_and_a_second_run_changes_nothing(
    shop, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    said = shop.score(capsys, "--contract.warn_share", "0.2")
    rows = (shop.folder / "a.csv").read_text().split("\n")[1:-1]
    table, champion = pq.read_table(shop.place() / PARQUET), the_champion(shop.settings())
    assert table["customer_id"].to_pylist() == sorted({row.split(",")[6] for row in rows} - {""})
    assert f"{len(table)} customers as of {DAY}: computed" in said
    assert str(shop.place() / CSV) in said and "the contract was changed since" in one_line(said)
    paths = (str(shop.folder), "make ")
    assert all(len(line) <= 80 for line in said.split("\n") if not any(p in line for p in paths))
    record = read_scores(shop.place())
    key = (champion.version, champion.bundle_sha256)
    assert (record["version"], record["bundle_sha256"]) == key
    assert left(shop.place()) == sorted(FILES)
    before = sums(shop.place())
    assert f"{len(table)} customers as of {DAY}: reused" in shop.score(capsys)
    assert sums(shop.place()) == before
    shutil.rmtree(shop.place())
    assert ": computed" in shop.score(
        capsys, "--compute.threads", "1", "--compute.memory_mb", "300"
    )
    assert sums(shop.place()) == before, "the same key gives the same bytes"


def test_without_a_day_it_is_the_day_after_the_last_row_and_rows_of_today_are_not_there_yet(
    shop, capsys
):
    shop.score(capsys, day=None)
    assert left(shop.scores)[0] == "as_of=2024-06-29"
    shop.score(capsys, "--operations.today", "2024-06-11", day=None)
    assert read_scores(shop.place("2024-06-11"))["as_of"] == "2024-06-11"
    today = datetime.now(UTC).date()
    shutil.rmtree(shop.var / "batches")  # as another log it would be held
    write_log(shop.folder / "a.csv", today - timedelta(days=170), 171)
    shop.score(capsys, day=None)
    assert read_scores(shop.place(str(today))) is not None
    assert "reused" in shop.score(capsys, day=str(today)), "named or not"


@pytest.mark.parametrize(
    ("day", "more", "said"),
    [
        ("2024-01-01", (), "no valid row of the log lies before 2024-01-01"),
        ("2024-07-14", (), "the log ends on 2024-06-28, 15 days before 2024-07-14"),
        ("2024-07-13", ("--scoring.max_gap_days", "9"), "scoring.max_gap_days is 9"),
        ("2999-01-01", (), "2999-01-01 lies in the future: today is 20"),
        ("2024-06-13", ("--operations.today", "2024-06-12"), "today is 2024-06-12"),
        ("2024-W05-1", (), "'2024-W05-1' is not a day"),
        ("", (), "'' is not a day"),
        (DAY, ("--data", "a.csv"), "DATA is for labelled tables"),
        (DAY, ("--operations.today", "2023-06-12"), "no row of the source lies before 2023-06-12"),
        (DAY, ("--features.horizon_days", "30"), "answers another question: horizon_days is 20"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_what_to_do(shop, capsys, day, more, said):
    message = shop.score(capsys, *more, day=day, rc=1)
    assert said in message and "next:" in message
    assert not list(shop.var.glob("scores/*/*/*.parquet"))


def test_the_log_may_end_a_few_days_before_the_day(shop, capsys):
    said = one_line(shop.score(capsys, day="2024-07-13"))
    assert "as of 2024-07-13: computed" in said and "no row of the last 14 days" in said
    assert "as of 2024-06-01: computed" in shop.score(capsys, day="2024-06")


def test_no_scores_are_made_if_no_customer_bought_within_the_active_days(shop, capsys):
    old = write_log(shop.folder / "a.csv", date(2022, 1, 1), 180)
    returned = "C9,10001,MUG,-1,2.0,2024-05-31 10:00:00,c1,UK"
    save(shop.folder / "a.csv", [*old, returned])
    said = one_line(shop.score(capsys, rc=1))
    assert "there is nobody to score: no customer bought in the 365 days" in said
    assert not shop.place().exists() and not list(shop.scores.glob(".*"))
    save(shop.folder / "a.csv", [*old, "9,10001,MUG,1,2.0,2024-05-31 10:00:00,ben,UK"])
    shop.score(capsys)
    assert pq.read_table(shop.place() / PARQUET)["customer_id"].to_pylist() == ["ben"]


@pytest.mark.parametrize(
    ("preset", "words", "day"),
    [
        ("smoke", [], date(2025, 12, 31)),
        ("year", [], date(2027, 4, 1)),
        ("smoke", ["--operations.today", "2025-02-03"], date(2025, 2, 3)),
    ],
)
def test_of_a_simulated_shop_the_clock_is_the_day_after_its_log(preset, words, day):
    assert today(load(preset, words, {})) == day


# --- the champion ---------------------------------------------------------------------------------


def test_without_a_champion_nothing_is_read(shop, capsys):
    shutil.copy(shop.folder / "shop.yaml", shop.folder / "other.yaml")
    said = replace(shop, name="other").score(capsys, rc=1)
    assert "there is no champion yet" in said and "make train" in said
    assert not (shop.var / "scores" / "other").exists()


def test_a_later_champion_stands_beside_and_the_first_stays_official(shop, capsys):
    shop.score(capsys)
    before, first = sums(shop.place()), the_champion(shop.settings())
    second = make_champion(shop.settings(), seed=first.version)
    assert "computed, beside the official ones" in shop.score(capsys)
    assert shop.beside().name.startswith(f"version-{second.version}-")
    assert read_scores(shop.beside())["version"] == second.version
    one, two = (pq.read_table(at / PARQUET) for at in (shop.place(), shop.beside()))
    assert one["customer_id"] == two["customer_id"] and one["probability"] != two["probability"]
    again = sums(shop.beside())
    assert "reused, beside the official ones" in shop.score(capsys)
    assert (sums(shop.place()), sums(shop.beside())) == (before, again)
    shop.score(capsys, day="2024-06-02")
    assert read_scores(shop.place("2024-06-02"))["version"] == second.version


def test_an_altered_bundle_is_refused_and_earlier_scores_stay(shop, capsys):
    shop.score(capsys)
    before, model = sums(shop.place()), the_champion(shop.settings()).bundle / "model.onnx"
    content = model.read_bytes()
    model.write_bytes(content + b" ")
    said = shop.score(capsys, day="2024-06-02", rc=1)
    model.write_bytes(content)
    assert "the model bundle is refused: model.onnx is not the file" in said
    assert sums(shop.place()) == before and not shop.place("2024-06-02").exists()


def test_a_source_that_lost_a_column_of_the_champion_is_refused(shop, capsys):
    columns = ["invoice_id", "product_id", "quantity", "unit_price", "invoiced_at", "customer_id"]
    source = {"columns": {name: name for name in columns}}
    write_preset(shop.folder / "shop.yaml", str(shop.folder / "*.csv"), source=source)
    said = shop.score(capsys, rc=1)
    assert "feature is_home needs the column country, which the source does not declare" in said


def test_features_are_made_as_the_bundle_says_whatever_the_settings_are_now(shop, capsys):
    """A log that lost its beginning would else be a shop that had just opened."""
    shop.score(capsys)
    first = pq.read_table(shop.place() / PARQUET)["probability"]
    make_champion(shop.settings(), seed=0, log_start="2023-01-01")
    shop.score(capsys)
    assert pq.read_table(shop.beside() / PARQUET)["probability"] != first


def test_scores_of_days_that_the_champion_has_learnt_from_say_so(shop, capsys):
    dates = {"train": ["2024-04-01"], "valid": ["2024-05-01"], "test": ["2024-05-21"]}
    make_champion(shop.settings(), seed=5, as_of=dates)
    said = one_line(shop.score(capsys, day="2024-05-20"))
    assert "was trained or tested on what customers did after 2024-05-20" in said
    horizon = timedelta(days=shop.settings().features.horizon_days)
    fair = read_scores(shop.place("2024-05-20"))["fair_from"]
    assert fair == str(date(2024, 5, 21) + horizon), "the end of its test's window"
    dates |= {"valid": ["2024-04-01"], "test": ["2024-04-02"]}
    make_champion(shop.settings(), seed=5, as_of=dates)
    assert "trained or tested" not in shop.score(capsys, day="2024-05-21")
    make_champion(shop.settings(), seed=0)


# --- rows that change -----------------------------------------------------------------------------


def test_the_order_of_rows_and_files_and_a_file_sent_twice_change_nothing(shop, capsys):
    rows = write_log(shop.folder / "a.csv", FIRST, 180)
    shop.score(capsys)
    before = sums(shop.place())
    save(shop.folder / "b.csv", rows[1000:][::-1])
    save(shop.folder / "a.csv", rows[:1000])
    shutil.copy(shop.folder / "a.csv", shop.folder / "twice.csv")
    save(shop.folder / "some.csv", rows[500:515])  # again, within another file
    said = shop.score(capsys)
    assert "reused" in said and "twice.csv holds the same bytes as a.csv: it is read once" in said
    shutil.rmtree(shop.scores)
    shop.score(capsys)
    assert sums(shop.place()) == before


def test_a_row_that_was_changed_later_gives_scores_beside_which_are_kept(shop, capsys):
    shop.score(capsys)
    official = sums(shop.place())
    edit(shop.folder / "a.csv", "2024-03-01 10:00:00", "2024-03-02 10:00:00")
    assert "beside the official ones" in shop.score(capsys)
    assert read_scores(shop.beside())["data_sha256"] != read_scores(shop.place())["data_sha256"]
    edit(shop.folder / "a.csv", "2024-06-03 10:00:00", "2024-06-04 10:00:00")
    assert "reused, beside" in shop.score(capsys), "the day is not before the as-of date"
    beside = sums(shop.beside())
    write_log(shop.folder / "a.csv", FIRST, 180)
    spoil(shop.place() / PARQUET)
    shop.score(capsys)
    assert (sums(shop.place()), sums(shop.beside())) == (official, beside)


def test_a_log_cut_at_the_clock_scores_as_it_did_then(shop, capsys):
    rows = write_log(shop.folder / "a.csv", FIRST, 180)
    past = [row for row in rows if row.split(",")[5] < DAY]
    save(shop.folder / "a.csv", past)
    shop.score(capsys)
    before = sums(shop.place())
    for parts in ([past, rows[len(past) :]], [rows[::2], rows[1::2]]):
        for number, part in enumerate(parts):
            save(shop.folder / f"{'ab'[number]}.csv", part)
        for words, day in ((("--operations.today", DAY), None), ((), DAY)):
            shutil.rmtree(shop.scores)
            shop.score(capsys, *words, day=day)
            assert sums(shop.place()) == before


# --- what becomes of the files --------------------------------------------------------------------


def spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"!")


def test_official_scores_that_were_altered_are_made_again_as_they_were(shop, capsys):
    shop.score(capsys)
    before = sums(shop.place())
    for name, damage in (
        (PARQUET, spoil),
        (CSV, Path.unlink),
        (RECORD, spoil),
        (RECORD, Path.unlink),
    ):
        damage(shop.place() / name)
        assert read_scores(shop.place()) is None
        said = shop.score(capsys)
        assert "Note" in said and str(shop.place()) in said.replace("\n          ", "")
        assert sums(shop.place()) == before and left(shop.place()) == sorted(FILES), name


@pytest.mark.parametrize("name", [PARQUET, RECORD])
def test_official_scores_of_another_champion_are_not_replaced_when_they_were_altered(
    shop, capsys, name
):
    shop.score(capsys)
    spoil(shop.place() / name)
    before = sums(shop.place())
    make_champion(shop.settings(), seed=3)
    for how in ("computed", "reused"):
        assert f"{how}, beside the official ones" in one_line(shop.score(capsys))
    assert sums(shop.place()) == before and read_scores(shop.place()) is None
    make_champion(shop.settings(), seed=0)


def test_scores_that_were_moved_to_another_day_are_not_its_scores(shop, capsys):
    shop.score(capsys)
    shop.place().rename(shop.place("2024-06-02"))
    assert read_scores(shop.place("2024-06-02")) is None
    record = read_record(shop.place("2024-06-02") / RECORD)
    write_record(shop.place("2024-06-02") / RECORD, {**record, "files": None})
    assert read_scores(shop.place("2024-06-02")) is None


def test_more_explanations_are_for_new_scores_only(shop, capsys):
    shop.score(capsys, "--scoring.explained", "5")
    before = sums(shop.place())
    said = one_line(shop.score(capsys, "--scoring.explained", "7"))
    assert "explanations were computed for 5 customers when the scores were made" in said
    assert sums(shop.place()) == before
    with (shop.place() / CSV).open(encoding="utf-8-sig") as file:
        assert sum(bool(row["moved_most"]) for row in csv.DictReader(file)) == 5


def test_a_full_disk_leaves_the_earlier_scores_and_nothing_half_written(shop, capsys):
    settings = shop.settings()
    shop.score(capsys)
    page = shop.var / "page.html"
    validated = data_stages.validate(settings, data_stages.ingest(settings), page).folder
    before, there = sums(shop.place()), left(shop.scores)
    for size in (0, 500, 3_000, 6_000):  # features, answers, the list
        with files_of_at_most(size), pytest.raises((OSError, UserError), match="too large"):
            score_log(settings, validated, date(2024, 6, 3))
        assert left(shop.scores) == there and sums(shop.place()) == before
    score_log(settings, validated, date(2024, 6, 3))


# A command that is killed when it renames a file of the scores, or removes a folder, the n-th time.
KILLED = """
import os, signal, sys
at, seen = int(sys.argv.pop(1)), 0
def see(event, arguments):
    global seen
    if event in ("os.rename", "shutil.rmtree") and f"{os.sep}scores{os.sep}" in str(arguments[0]):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
from configs.command import run_command
from flows import score
sys.addaudithook(see)
code = run_command("flows.score", score.ABOUT, score.main, options=score.OPTIONS)
sys.exit(code)
"""


def killed_at(shop: Shop, at: int) -> bool:
    """Whether the command was killed: with fewer moments than that it ends well."""
    words = ["--config", shop.preset, "--var", str(shop.var), "--as-of", DAY]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(at), *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stdout + done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("begin", ["nothing scored", "the official ones altered"])
def test_a_command_that_is_killed_anywhere_leaves_what_the_next_one_completes(shop, capsys, begin):
    shop.score(capsys)
    edit(shop.folder / "a.csv", "2024-03-01 10:00:00", "2024-03-02 10:00:00")
    shop.score(capsys)
    write_log(shop.folder / "a.csv", FIRST, 180)
    official, beside, kept = sums(shop.place()), shop.beside(), sums(shop.beside())

    def start() -> None:
        if begin == "nothing scored":
            shutil.rmtree(shop.scores, ignore_errors=True)
        else:
            spoil(shop.place() / PARQUET)

    start()
    moments = 0
    while killed_at(shop, moments + 1):
        moments += 1
        if begin != "nothing scored":
            assert sums(beside) == kept
        shop.score(capsys)
        assert sums(shop.place()) == official
        assert [name for name in left(shop.scores) if "/." in f"/{name}"] == []
        start()
    assert moments >= 2
