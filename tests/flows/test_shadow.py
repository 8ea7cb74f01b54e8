"""`make shadow` as a person types it, and the promotion of what only had to be in shadow first."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from common.customer_hash import hashed, read_key
from configs.load import load
from features.catalogue import CATALOGUE
from flows.commands import shadow
from flows.shadow import conclude_shadow, evidence_of, on_page, purchases_of, why_not_promoted
from registry import runs
from registry.bundle import BundleRefused, write_bundle
from registry.champion import champion_now, model_name, register
from registry.decisions import conclude, promote_manually
from registry.evidence import ChampionEvidence, Difference, Evidence
from registry.gate import decide
from registry.ledger import history
from registry.tracking import open_store
from tests.flows.test_champion_commands import graph
from tests.monitoring.made_logs import write_shadow

pytestmark = pytest.mark.slow

BETTER, LOWER = Difference(0.02, 0.01, 0.03), Difference(-0.02, -0.03, -0.01)
ASKS = ("--gate.shadow_days", "2", "--gate.shadow_rows", "300")
DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(3)]


class Shop:
    """A model of its own in a registry, of made bundles, and the logs of a service."""

    def __init__(self, var, name: str, *words: str) -> None:
        settings = load("smoke", ["--var", str(var), *ASKS, *words], env={})
        self.settings = settings.model_copy(update={"name": name})
        self.client = open_store(self.settings)
        self.bundle = var / "bundle"

    def train(self, **changes):
        """A training's end: a version, and the gate's decision by its own rules."""
        said = {"family": "xgboost", "threshold": 0.5, "features": [asdict(CATALOGUE[0])]}
        sha = write_bundle(self.bundle, graph(), said)
        run = runs.open_run(self.client, "run")
        version = register(
            self.client,
            self.settings,
            run_id=run,
            bundle=self.bundle,
            bundle_sha256=sha,
            tags={},
        )
        before = champion_now(self.settings)
        beside, seen = None, None
        if before is not None:
            beside = ChampionEvidence(roc_auc=BETTER, log_loss=LOWER)
            seen = evidence_of(self.settings, before.version, version.version)[0]
        evidence = Evidence(
            export_max_difference=0.0,
            chance_roc_auc=BETTER,
            baseline_roc_auc=BETTER,
            calibration_error=0.01,
            latency_p99_ms=0.1,
            today=date(2026, 3, 1),
            schema=(),
            newest_row=date(2026, 2, 27),
            champion=beside,
            shadow=seen,
        )
        decision = decide(replace(evidence, **changes), self.settings.gate)
        entry = conclude(
            self.client,
            self.settings,
            version=version,
            decision=decision,
            expected_champion=before.version if before else None,
            figures={"roc_auc": 0.75, "clock": "2026-03-01"},
            data_sha256="d" * 64,
            code_revision="c",
            run_id="run-1",
        )
        return version, entry

    def serve(self, day: date, versions: tuple[int, int], rows: int = 200, shift: float = 0.01):
        """What a service with a challenger in shadow writes on a day."""
        p = np.random.default_rng(day.toordinal()).random(rows) * 0.9
        folder = self.settings.var / "serving" / "shadow"
        model = model_name(self.settings)
        write_shadow(folder, day, p, p + shift, versions=versions, model=model, name=model)

    def conclude(self):
        return conclude_shadow(self.client, self.settings)

    def why_not(self) -> str:
        return why_not_promoted(self.client, self.settings)


@pytest.fixture(scope="module")
def var(tmp_path_factory):
    """One for all: MLflow needs seconds to make its database."""
    return tmp_path_factory.mktemp("store") / "var"


@pytest.fixture
def shop(var, request):
    return Shop(var, request.node.name[5:45])


def test_a_version_that_only_has_to_be_in_shadow_is_promoted_when_it_has_been(shop):
    first, entry = shop.train()
    assert entry.action == "promote", "the first champion has nobody to be in shadow of"
    second, entry = shop.train()
    assert entry.action == "reject"
    assert "in shadow of the champion on 0 days, 0 rows" in entry.reason
    assert "--serving.shadow challenger --serving.log_requests true" in entry.reason
    assert "make shadow" in entry.reason and "--promote" in entry.reason
    versions = (first.version, second.version)
    assert shop.conclude() is None
    for day in DAYS[:2]:
        assert shop.conclude() is None
        shop.serve(day, versions)
    assert "on 2 days, 400 rows" not in entry.reason
    promoted = shop.conclude()
    assert (promoted.action, promoted.by, promoted.open) == ("promote", "gate", False)
    assert (promoted.from_version, promoted.to_version) == versions
    assert champion_now(shop.settings).version == second.version
    assert "in shadow of the champion on 2 days, 400 rows" in promoted.reason
    assert f"held by record {entry.sequence}" in promoted.reason
    rules = {rule["rule"]: rule for rule in promoted.rules}
    assert rules["shadow"]["held"] and rules["shadow"]["figure"] == 2
    assert [rule["rule"] for rule in promoted.rules] == [rule["rule"] for rule in entry.rules]
    figures = promoted.figures["shadow"]
    assert (figures["days"], figures["rows"], figures["agreement"] > 0.9) == (2, 400, True)
    assert figures["shift"] == pytest.approx(0.01) and promoted.figures["roc_auc"] == 0.75
    assert promoted.figures["clock"] == "2026-03-01", "it is not another training"
    assert shop.conclude() is None, "once"


def test_what_was_rejected_for_something_else_too_stays_rejected(shop):
    first, _ = shop.train()
    second, entry = shop.train(calibration_error=0.9)
    assert sum(not rule["held"] for rule in entry.rules) == 2
    for day in DAYS:
        shop.serve(day, (first.version, second.version))
    assert shop.conclude() is None
    assert "no version waits for its days in shadow" in shop.why_not()


def test_days_with_too_few_rows_and_answers_that_differ_are_not_enough(shop):
    first, _ = shop.train()
    second, _ = shop.train()
    versions = (first.version, second.version)
    for day in DAYS[:2]:
        shop.serve(day, versions, rows=20)
    assert shop.conclude() is None and "on 2 days, 40 rows" in shop.why_not()
    shop.serve(DAYS[2], versions, rows=1000, shift=0.45)
    assert shop.conclude() is None and "the agreement of the two decisions is" in shop.why_not()
    assert champion_now(shop.settings).version == first.version


def test_days_in_shadow_of_another_champion_do_not_count(shop):
    first, _ = shop.train()
    second, _ = shop.train()
    for day in DAYS:
        shop.serve(day, (first.version, second.version))
    third, _ = shop.train()  # the newest one is asked about
    assert shop.conclude() is None and "on 0 days" in shop.why_not()
    promote_manually(shop.client, shop.settings, second.version)
    for day in DAYS:
        shop.serve(day, (second.version, third.version))
    assert shop.conclude() is None
    why = f"it was compared with version {first.version}, and version {second.version} is champion"
    assert why in shop.why_not()


def test_rows_that_have_become_too_old_meanwhile_are_not_promoted(var):
    old = ("--gate.max_data_age_days", "10", "--operations.today", "2026-03-05")
    shop = Shop(var, "old", *old)
    first, _ = shop.train()
    second, _ = shop.train()
    for day in DAYS:
        shop.serve(day, (first.version, second.version))
    later = shop.settings.operations.model_copy(update={"today": date(2026, 3, 20)})
    then = shop.settings.model_copy(update={"operations": later})
    assert conclude_shadow(shop.client, then) is None
    assert "its newest row is 21 days old by now" in why_not_promoted(shop.client, then)
    assert shop.conclude().action == "promote"


def test_a_bundle_that_was_altered_meanwhile_is_refused(shop):
    first, _ = shop.train()
    second, _ = shop.train()
    for day in DAYS:
        shop.serve(day, (first.version, second.version))
    with (second.bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleRefused):
        shop.conclude()
    assert champion_now(shop.settings).version == first.version


def test_a_gate_that_does_not_ask_concludes_nothing(shop):
    first, _ = shop.train()
    second, _ = shop.train()
    for day in DAYS:
        shop.serve(day, (first.version, second.version))
    plain = shop.settings.gate.model_copy(update={"shadow_days": None})
    settings = shop.settings.model_copy(update={"gate": plain})
    assert conclude_shadow(shop.client, settings) is None
    assert "gate.shadow_days is not set" in why_not_promoted(shop.client, settings)


def test_a_record_that_only_says_more_about_the_version_does_not_count_as_its_decision(shop):
    first, _ = shop.train()
    second, _ = shop.train()
    for day in DAYS:
        shop.serve(day, (first.version, second.version))
    promote_manually(shop.client, shop.settings, second.version)
    promote_manually(shop.client, shop.settings, first.version)  # somebody took it back by hand
    assert shop.conclude() is None
    assert champion_now(shop.settings).version == first.version


def type_(capsys, shop, *words: str) -> tuple[int, str]:
    options = ["--config", "smoke", "--var", str(shop.settings.var), *ASKS]
    code = shadow.run([*words, *options])
    said = capsys.readouterr()
    return code, " ".join((said.out + said.err).split())


def test_the_command_shows_the_comparison_and_promotes_only_when_it_is_told_to(
    var, monkeypatch, capsys
):
    shop = Shop(var, "smoke")
    code, said = type_(capsys, shop)
    assert code == 1 and "there is no challenger beside the champion" in said
    first, _ = shop.train()
    second, _ = shop.train()
    versions = (first.version, second.version)
    code, said = type_(capsys, shop)
    assert code == 0 and "Version 2 in shadow of version 1 has not scored a row yet" in said
    assert "Next make serve" in said or "--serving.shadow challenger" in said
    code, said = type_(capsys, shop, "--promote")
    assert code == 1 and "version 2 is not promoted: in shadow of the champion on 0 days" in said
    for day in DAYS:
        shop.serve(day, versions)
    code, said = type_(capsys, shop)
    assert code == 0 and "600 rows on 3 days (2026-03-01 to 2026-03-03)" in said
    assert "champion 1 challenger 2 mean probability" in said and "--promote" in said
    assert champion_now(shop.settings).version == first.version
    code, said = type_(capsys, shop, "--promote")
    assert code == 0 and "Version 2 of golden-path-smoke is champion, in place of version 1" in said
    assert history(shop.client, shop.settings)[-1].action == "promote"


def test_the_labels_come_from_the_log_of_the_data_set(tmp_path):
    shop = Shop(tmp_path, "smoke")
    assert purchases_of(shop.settings) is None, "without a key nobody can be found again"
    key = read_key(shop.settings.var / "serving" / "log.key")
    found = purchases_of(shop.settings)
    assert found.key == key and found.transactions.is_file()
    first, _ = shop.train()
    second, _ = shop.train()
    day = found.known_until - timedelta(days=shop.settings.features.horizon_days + 1)
    before = [("invoiced_at", "<", datetime(day.year, day.month, day.day))]
    rows = pq.read_table(found.transactions, columns=["customer_id"], filters=before)
    names = sorted(set(rows["customer_id"].to_pylist()))[:500]
    p = list(np.random.default_rng(1).random(len(names)))
    write_shadow(
        shop.settings.var / "serving" / "shadow",
        day,
        p,
        p,
        versions=(first.version, second.version),
        customers=[hashed(key, name) for name in names],
        as_of=[day] * len(names),
        model=model_name(shop.settings),
    )
    _, compared = evidence_of(shop.settings, first.version, second.version, found)
    assert compared.labelled == len(names) and 0 < compared.positives < len(names)
    shown = on_page(compared, ("said",))
    assert (shown.rows, shown.days, shown.text[-1]) == (len(names), 1, "said")
    assert shown.figures["ms a row, median"] == ("1.000", "2.000")
