"""`make reproduce` where the rows, the run's name or the folder are not as they should be."""

from __future__ import annotations

import json

import pytest
from logs import write_log, write_preset

from common.errors import UserError
from common.locks import folder_lock
from configs.load import dump, load
from flows import data_stages
from flows.commands import reproduce
from flows.stage import code_sha256
from ingestion.outcome import TRANSACTIONS

pytestmark = pytest.mark.slow

RUN = "20260101-000000-abcd"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """What a run on a small file left behind, as far as its rows: settings and summary."""
    shop = tmp_path_factory.mktemp("shop")
    write_log(shop / "log.csv", days=160)
    write_preset(shop / "shop.yaml", str(shop / "log.csv"))
    settings = load(str(shop / "shop.yaml"), ["--var", str(shop / "var")], env={})
    parts = data_stages.ingest(settings)
    validated = data_stages.validate(settings, parts, shop / "var" / "page.html")
    folder = shop / "var" / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text(dump(settings))
    summary = {
        **{"data_sha256": validated.files[TRANSACTIONS], "table_sha256": "t"},
        **{"code_sha256": code_sha256(), "code_revision": "unknown"},
        **{"families": {"xgboost": {"ended_by": "trials"}}, "seconds": {"total": 60.0}},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return settings


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",2.0,", ",2.5,", "the source holds other rows than it did"),
        ("invoice_id", "number", "its rows can no longer be read"),
    ],
)
def test_other_rows_are_named_before_anything_is_repeated(shop, monkeypatch, old, new, said):
    log = shop.var.parent / "log.csv"
    before = log.read_text()
    monkeypatch.setattr(reproduce, "repeat", None)  # a call would be an error of another kind
    try:
        log.write_text(before.replace(old, new, 1))
        with pytest.raises(UserError, match=said) as refused:
            reproduce.main(shop, RUN)
    finally:
        log.write_text(before)
    assert refused.value.where == str(log)


def test_two_at_once_leave_each_others_folder_alone(shop):
    folder = shop.var / "reproduce" / RUN
    (folder / "var").mkdir(parents=True, exist_ok=True)
    (folder / "var" / "half").write_text("made")
    for locked in (folder, folder / "var"):
        with folder_lock(locked, "reproduce"), pytest.raises(UserError, match="another command"):
            reproduce.main(shop, RUN)
        assert (folder / "var" / "half").exists()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", f"{RUN}/", f"./{RUN}", f"../runs/{RUN}"])
def test_a_run_is_a_plain_name_within_runs(shop, name):
    with pytest.raises(UserError, match=r"no run"):
        reproduce.find_original(shop, name)


def test_the_causes_of_a_difference_are_listed_the_surest_first(tmp_path):
    def causes(different, reason="", ended_by="trials"):
        families = {"tabm": {"ended_by": ended_by}, "xgboost": {"ended_by": "trials"}}
        (tmp_path / "summary.json").write_text(json.dumps({"families": families}))
        return reproduce.causes(different, reason, tmp_path)

    said = causes(["data_sha256", "table_sha256"], "its code is another", "seconds")
    rows, code, clock = said.split("; and ")
    assert rows.startswith("the source holds other rows") and "its code is another" in code
    assert "this time the search of tabm was ended by the clock" in clock
    assert causes(["table_sha256"]).startswith("the same rows made another table")
    assert causes(["winner"]).startswith("another machine")
