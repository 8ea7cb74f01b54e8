"""The contract as Great Expectations' own client finds it below var/."""

from __future__ import annotations

import great_expectations as gx
import pytest
from made_table import made_rows, save, settings

from configs.load import load
from features.contract import read_frame
from flows import data_stages
from flows.data_stages import open_dataset
from flows.dataset import TABLE, keep_suites

pytestmark = pytest.mark.slow


def opened(found):
    return gx.get_context(mode="file", project_root_dir=found.var / "great_expectations")


def codes(suite) -> list[str]:
    return [expectation.meta["code"] for expectation in suite.expectations]


def test_a_run_keeps_its_suites_with_checkpoints_that_judge_a_frame(tmp_path):
    found = settings(save(tmp_path / "table.csv", made_rows()), tmp_path / "var")
    parts = data_stages.ingest(found)
    validated = data_stages.validate(found, parts, tmp_path / "page.html")
    table = open_dataset(found).build_table(validated)
    context = opened(found)
    names = {f"members-{suite}" for suite in ("rows", "batch", "table")}
    assert {suite.name for suite in context.suites.all()} == names
    assert {checkpoint.name for checkpoint in context.checkpoints.all()} == names
    rules = set(open_dataset(found).rules())
    assert set(codes(context.suites.get("members-rows"))) == rules
    context.variables.progress_bars = {"globally": False}
    frame = read_frame(table.path(TABLE))
    checkpoint = context.checkpoints.get("members-table")
    assert checkpoint.run(batch_parameters={"dataframe": frame}).success
    frame.loc[0, "visits"] = -1
    assert not checkpoint.run(batch_parameters={"dataframe": frame}).success


def test_the_suites_of_a_log_follow_its_contract_and_its_columns(tmp_path):
    limits = ("--contract.rules.impossible_price.high", "9")
    for arguments, price in (((), 5000.0), (limits, 9.0)):  # the second takes the first one's place
        found = load("default", ["--var", str(tmp_path), *arguments], {})
        keep_suites(open_dataset(found))
        rows = opened(found).suites.get(f"{found.dataset}-rows")
        (rule,) = [one for one in rows.expectations if one.meta["code"] == "impossible_price"]
        assert (rule.column, rule.max_value) == ("unit_price", price)
    columns = {name: name for name in ("customer_id", "invoiced_at", "amount")}
    source = found.source.model_copy(update={"kind": "files", "columns": columns})
    amounts = found.model_copy(update={"name": "amounts", "source": source})
    keep_suites(open_dataset(amounts))
    context = opened(amounts)
    assert len(list(context.suites.all())) == 6
    rows = codes(context.suites.get(f"{amounts.dataset}-rows"))
    assert "missing_customer" in rows and "missing_invoice" not in rows
