"""`make score DATA=…`: the rows of a file, for a champion of a labelled table."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_champion import make_table_champion
from made_table import TABLE, made_rows, save
from made_table import settings as table_settings

from common.errors import UserError
from configs.settings import Settings
from features.from_table import schema
from flows import score
from flows.kept_scores import read_scores
from flows.score_table import LEFT_OUT
from registry.bundle import load_bundle
from registry.champion import the_champion
from serving.batch import CSV, PARQUET
from serving.limits import Limits
from serving.requests import FeatureReader

pytestmark = pytest.mark.slow

HEADER = ("member", "age", "visits", "plan")


@pytest.fixture(scope="module")
def var(tmp_path_factory) -> Path:
    settings = table_settings("train.csv", tmp_path_factory.mktemp("table") / "var")
    make_table_champion(settings, schema(settings.source.table))
    return settings.var


@pytest.fixture
def shop(var, tmp_path) -> Settings:
    """Settings of a table with a champion; nothing is scored yet."""
    shutil.rmtree(var / "scores", ignore_errors=True)
    return table_settings(tmp_path / "train.csv", var)


def typed(settings: Settings, data: Path | str, capsys) -> tuple[Path, str]:
    """Score the file; returns the folder of its scores and what was said."""
    score.main(settings, as_of=None, data=str(data))
    said = capsys.readouterr().out
    (line,) = (line for line in said.split("\n") if line.startswith("Programs"))
    return Path(line.split(maxsplit=1)[1]).parent, said.replace("\n          ", " ")


def unlabelled(count: int = 60, seed: int = 4) -> list[list]:
    return [row[:4] for row in made_rows(count, seed)]


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / CSV).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_has_what_the_service_would_answer(shop, tmp_path, capsys):
    rows = unlabelled()
    folder, said = typed(shop, save(tmp_path / "new.csv", rows, HEADER), capsys)
    assert "60 rows: computed" in said and "have left = Yes" in said
    scored = pq.read_table(folder / PARQUET).to_pylist()
    champion = the_champion(shop)
    bundle = load_bundle(champion.bundle, expected_sha256=champion.bundle_sha256)
    values = [[float(a) if a != "" else None, float(v), p or None] for _, a, v, p in rows]
    names = [feature["name"] for feature in bundle.features]
    body = json.dumps({"customers": [dict(zip(names, row)) for row in values]}).encode()
    request = FeatureReader(bundle.features).read(body, Limits(100, 1, 1), skip=False)
    assert [row["customer_id"] for row in scored] == [row[0] for row in rows]
    probability = [row["probability"] for row in scored]
    np.testing.assert_allclose(probability, bundle.predict(request.x), rtol=0, atol=1e-6)
    assert {row["as_of"] for row in scored} == {None}
    people = listed(folder)
    assert next(iter(people[0])) == "id" and len(people) == 60
    assert any(row["moved_most"].startswith("plan basic") for row in people)


def test_the_target_and_unknown_columns_are_passed_over_and_the_rows_are_the_same_ones(
    shop, tmp_path, capsys
):
    rows = unlabelled()
    folder, _ = typed(shop, save(tmp_path / "new.csv", rows, HEADER), capsys)
    labelled = [[*row, "Yes", "x"] for row in rows[::-1]]
    more = save(tmp_path / "more.csv", labelled, (*HEADER, "left", "colour"))
    (tmp_path / "part").mkdir()
    save(tmp_path / "part" / "1.csv", rows[:20], HEADER)
    save(tmp_path / "part" / "2.csv", labelled[:40], (*HEADER, "left", "colour"))
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "new.csv").read_bytes()))
    for data in (more, packed, tmp_path / "part" / "*.csv"):
        assert typed(shop, data, capsys)[0] == folder
    read = read_scores(folder)
    assert read is not None and read["source"] == ["new.csv"] and read["rows"] == 60
    folder, _ = typed(shop, save(tmp_path / "new.csv", rows[1:], HEADER), capsys)
    assert read_scores(folder)["rows"] == 59


def test_rows_that_cannot_be_scored_are_listed_with_the_reasons(shop, tmp_path, capsys):
    bad = [["", 30, 1, "plus"], ["m00001", 30, 1, "plus"], ["=x", "old", 1, "plus"]]
    bad += [["m9", 200, 1, "plus"], ["m8", 30, "", "plus"]]
    _, said = typed(shop, save(tmp_path / "new.csv", unlabelled() + bad, HEADER), capsys)
    left_out = shop.var / "scores" / "members" / LEFT_OUT
    assert "5 of 65 rows are not scored" in said and str(left_out) in said.replace(" ", "")
    assert "of the values are none of the champion's categories (trial)" in " ".join(said.split())
    with left_out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["reasons"], row["unreadable"]) for row in rows] == [
        ("61", "no_id", ""),
        ("62", "duplicate_id", ""),
        ("63", "unreadable_value", "age=old"),
        ("64", "out_of_range_age", ""),
        ("65", "missing_visits", ""),
    ]
    _, said = typed(shop, tmp_path / "new.csv", capsys)
    assert "60 rows: reused" in said and "5 of 65 rows are not scored" in said


def test_features_are_read_as_the_champion_knows_them_whatever_the_settings_are_now(
    shop, tmp_path, capsys
):
    folder, _ = typed(shop, save(tmp_path / "new.csv", unlabelled(), HEADER), capsys)
    columns = dict(TABLE["columns"])
    columns["plan"] = {"type": "category", "values": ["trial", "plus", "basic"], "missing": True}
    columns["age"] = {"type": "number", "low": 0, "high": 20}
    columns = dict(reversed(columns.items())) | {"more": {"type": "number"}}
    now = table_settings(tmp_path / "train.csv", shop.var, columns=columns)
    assert typed(now, tmp_path / "new.csv", capsys)[0] == folder


def test_without_identifiers_a_row_is_its_number(shop, tmp_path, capsys):
    now = table_settings(tmp_path / "train.csv", shop.var, id=None)
    save(tmp_path / "a.csv", [row[1:] for row in unlabelled(4)], HEADER[1:])
    save(tmp_path / "b.csv", [row[1:] for row in unlabelled(3, 9)], HEADER[1:])
    folder, _ = typed(now, tmp_path / "a.csv", capsys)
    assert sorted(row["row"] for row in listed(folder)) == ["1", "2", "3", "4"]
    folder, _ = typed(now, tmp_path / "?.csv", capsys)
    assert {"a.csv:4", "b.csv:3"} <= {row["row"] for row in listed(folder)}


def test_what_cannot_be_scored_is_refused_with_what_to_do(shop, tmp_path):
    rows = unlabelled()
    without_plan = save(tmp_path / "no_plan.csv", [row[:3] for row in rows], HEADER[:3])
    without_id = save(tmp_path / "no_id.csv", [row[1:] for row in rows], HEADER[1:])
    nameless = save(tmp_path / "nameless.csv", [["", *row[1:]] for row in rows], HEADER)
    empty, good = (
        save(tmp_path / "empty.csv", [], HEADER),
        save(tmp_path / "good.csv", rows, HEADER),
    )
    other = table_settings(tmp_path / "train.csv", shop.var, positive="No")
    for settings, data, as_of, what, where in (
        (shop, None, None, "no file is named", "DATA"),
        (shop, "", None, "no file is named", "DATA"),
        (shop, "new.csv", "2026-01-01", "has no days", "AS_OF"),
        (shop, tmp_path / "gone.csv", None, "does not exist", "DATA = "),
        (shop, "~/gone.csv", None, "does not exist", f"DATA = {Path.home()}"),
        (shop, without_plan, None, "has no column 'plan'", ""),
        (shop, without_id, None, "has no column 'member'", ""),
        (shop, nameless, None, "no_id keeps out 100.0% of the rows", f"DATA = {nameless}"),
        (shop, empty, None, "", ""),
        (other, good, None, "answers another question: positive is 'Yes'", ""),
    ):
        with pytest.raises(UserError) as refused:
            score.main(settings, as_of=as_of, data=None if data is None else str(data))
        assert what in refused.value.what and refused.value.where.startswith(where), data
        assert refused.value.next_step
    assert sorted(path.name for path in (shop.var / "scores" / "members").iterdir()) == [LEFT_OUT]
