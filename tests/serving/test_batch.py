"""The list of scores from a bundle and a file of features: what stands in both files."""

from __future__ import annotations

import csv
import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from configs.settings import Compute
from features.catalogue import CATALOGUE
from registry.bundle import Bundle, load_bundle
from serving import batch
from serving.batch import CSV, PARQUET, largest_change, score, typical_row
from tests.serving.made_linear import write_linear_bundle

NAMES = [feature.name for feature in CATALOGUE]
DAY = date(2025, 6, 1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    write_linear_bundle(folder)
    return load_bundle(folder)


def write_features(file: Path, ids: list[str], seed: int = 3) -> Path:
    """Whole numbers, now and then none, for these customers in this order: values by customer."""
    drawn = [np.random.default_rng([seed, *name.encode()]).integers(0, 60, 99) for name in ids]
    columns: dict[str, Any] = {"customer_id": ids, "as_of": [DAY] * len(ids)}
    for place, feature in enumerate(CATALOGUE):
        columns[feature.name] = [
            None if feature.missing and values[place] % 7 == 0 else float(values[place])
            for values in drawn
        ]
    pq.write_table(pa.table(columns), file)
    return file


def made(bundle: Bundle, tmp_path: Path, ids: list[str], name: str = "made", **more: Any) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    features = write_features(tmp_path / f"{name}.parquet", ids)
    score(bundle, features, folder, version=4, explained=more.pop("explained", 5), **more)
    assert sorted(path.name for path in folder.iterdir()) == [PARQUET, CSV]
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / PARQUET).to_pylist()


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / CSV).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (PARQUET, CSV)]


IDS = [f"c{number:03}" for number in range(95)]


def test_every_customer_has_the_probability_of_the_bundle_its_decision_and_its_decile(
    bundle, tmp_path
):
    found = rows(made(bundle, tmp_path, IDS))
    assert [row["customer_id"] for row in found] == sorted(IDS)
    table = pq.read_table(tmp_path / "made.parquet")
    x = np.array([table[name].to_numpy() for name in NAMES], dtype=np.float32).T
    expected = bundle.predict(x)
    assert [row["probability"] for row in found] == expected.tolist()
    assert len(set(expected)) == len(IDS) and 0 < (expected >= 0.5).mean() < 1
    assert [row["decision"] for row in found] == (expected >= 0.5).tolist()
    assert {(row["as_of"], row["version"], row["bundle_sha256"]) for row in found} == {
        (DAY, 4, bundle.sha256)
    }
    ranked = sorted(found, key=lambda row: -row["probability"])
    assert [row["decile"] for row in ranked] == [1 + place * 10 // 95 for place in range(95)]
    people = listed(tmp_path / "made")  # the most probable first
    assert list(people[0]) == ["customer", "probability", "decision", "decile", "moved_most"]
    assert [row["customer"] for row in people] == [row["customer_id"] for row in ranked]
    assert [row["probability"] for row in people] == [f"{r['probability']:.4f}" for r in ranked]
    assert {row["decision"] for row in people} == {"contact", "leave"}


def test_a_bundle_without_costs_or_reference_customers_gives_no_decision_and_no_reason(tmp_path):
    write_linear_bundle(tmp_path / "bundle", threshold=None, examples=False)
    folder = made(load_bundle(tmp_path / "bundle"), tmp_path, IDS, called="row")
    assert {(row["decision"], row["moved_most"]) for row in rows(folder)} == {(None, None)}
    assert {row["decision"] for row in listed(folder)} == {""}
    assert "row" in listed(folder)[0], "as the first column is called"


def test_a_spreadsheet_runs_no_customer_as_a_formula_and_reads_every_letter(bundle, tmp_path):
    odd = ["=1+1", "+49", "-7", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "a,b", 'q"q', "Łódź", "ünï"]
    folder = made(bundle, tmp_path, odd)
    assert (folder / CSV).read_bytes().startswith(b"\xef\xbb\xbf"), "else Excel reads other letters"
    people = {row["customer"] for row in listed(folder)}
    assert people == {*(f"'{name}" for name in odd[:8]), *odd[8:]}
    assert {row["customer_id"] for row in rows(folder)} == set(odd), "as they are, for programs"


def test_what_moved_most_is_the_exchange_that_changes_the_probability_most(bundle, tmp_path):
    found = sorted(rows(made(bundle, tmp_path, IDS)), key=lambda row: -row["probability"])
    assert all(row["moved_most"] and row["moved_by"] for row in found[:5])
    assert all(row["moved_most"] is row["moved_by"] is None for row in found[5:])
    table, typical = pq.read_table(tmp_path / "made.parquet").to_pylist(), typical_row(bundle)
    values = {row["customer_id"]: row for row in table}[found[0]["customer_id"]]
    own = np.array([[np.nan if values[n] is None else values[n] for n in NAMES]], np.float32)
    added = []
    for place in range(len(NAMES)):
        exchanged = own.copy()
        exchanged[0, place] = typical[place]
        added.append((bundle.predict(own) - bundle.predict(exchanged))[0])
    place = int(np.abs(added).argmax())
    value = values[NAMES[place]]
    shown = "missing" if value is None else f"{value:g}"
    assert found[0]["moved_most"] == f"{NAMES[place]} {shown}"
    assert found[0]["moved_by"] == round(added[place], 6)
    feature, change = largest_change(bundle, own, typical)
    assert (feature[0], change[0]) == (place, added[place])


@pytest.mark.parametrize("explained", [0, 95, 1000])
def test_as_many_are_explained_as_were_asked_for(bundle, tmp_path, explained):
    found = rows(made(bundle, tmp_path, IDS, explained=explained))
    assert sum(row["moved_most"] is not None for row in found) == min(explained, 95)


def test_equal_probabilities_are_ordered_by_customer(tmp_path, bundle):
    features = write_features(tmp_path / "one.parquet", ["a"])
    one = pq.read_table(features).drop_columns("customer_id")
    many = pa.concat_tables([one] * 30).append_column("customer_id", [IDS[:30][::-1]])
    pq.write_table(many, features)
    (tmp_path / "made").mkdir()
    score(bundle, features, tmp_path / "made", version=1, explained=0)
    assert [row["customer"] for row in listed(tmp_path / "made")] == IDS[:30]


def test_the_same_features_give_the_same_bytes(bundle, tmp_path):
    ways = [
        made(bundle, tmp_path, IDS, f"made{number}", compute=compute)
        for number, compute in enumerate(
            [Compute(threads=1), Compute(threads=2), Compute(memory_mb=256)]
        )
    ]
    assert digest(ways[0]) == digest(ways[1]) == digest(ways[2])


def test_the_order_of_the_rows_and_the_size_of_a_batch_change_no_score(
    bundle, tmp_path, monkeypatch
):
    whole = rows(made(bundle, tmp_path, IDS, "whole"))
    monkeypatch.setattr(batch, "ROWS", 7)
    parted = rows(made(bundle, tmp_path, IDS[40:] + IDS[:40], "parted"))
    for one, other in zip(whole, parted, strict=True):
        assert abs(one.pop("probability") - other.pop("probability")) < 1e-6
        assert abs((one.pop("moved_by") or 0) - (other.pop("moved_by") or 0)) < 2e-6
        assert one == other


def test_a_customer_without_a_probability_ends_it_with_a_name(tmp_path):
    write_linear_bundle(tmp_path / "bundle", nan_above=40)
    with pytest.raises(UserError, match=r"no probability for 'c\d+'") as caught:
        made(load_bundle(tmp_path / "bundle"), tmp_path, IDS)
    assert "rollback" in caught.value.next_step
    assert list((tmp_path / "made").iterdir()) == []


def test_features_that_lack_one_of_the_bundle_are_an_error(bundle, tmp_path):
    features = write_features(tmp_path / "few.parquet", IDS)
    pq.write_table(pq.read_table(features).drop_columns(NAMES[3]), features)
    with pytest.raises(ValueError, match=NAMES[3]):
        score(bundle, features, tmp_path, version=1, explained=0)
