"""`make shadow` as a person types it, and the promotion of what only had to be in shadow first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_champion import conclude_as, small_version

from common.customer_hash import hashed, read_key
from configs.load import load
from flows.commands import shadow
from flows.shadow import conclude_shadow, evidence_of, on_page, purchases_of, why_not_promoted
from registry.bundle import BundleRefused
from registry.champion import champion_now, model_name
from registry.decisions import promote_manually
from registry.evidence import ChampionEvidence, Difference, Evidence
from registry.gate import decide
from registry.ledger import history
from registry.tracking import open_store
from tests.monitoring.made_logs import write_shadow

pytestmark = pytest.mark.slow

BETTER, LOWER = Difference(0.02, 0.01, 0.03), Difference(-0.02, -0.03, -0.01)
EVIDENCE = Evidence(
    export_max_difference=0.0,
    chance_roc_auc=BETTER,
    baseline_roc_auc=BETTER,
    calibration_error=0.01,
    latency_p99_ms=0.1,
    today=date(2026, 3, 1),
    schema=(),
    newest_row=date(2026, 2, 27),
)
ASKS = ("--gate.shadow_days", "2", "--gate.shadow_rows", "300")
DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(3)]


class Shop:
    """A model of its own in a registry, of made bundles, and the logs of a service."""

    def __init__(self, var, name: str, *words: str) -> None:
        settings = load("smoke", ["--var", str(var), *ASKS, *words], env={})
        self.settings = settings.model_copy(update={"name": name})
        self.client = open_store(self.settings)

    def train(self, **changes):
        """A training's end: a version, and the gate's decision by its own rules."""
        version, before = small_version(self.settings), champion_now(self.settings)
        if before is not None:
            changes = {
                "champion": ChampionEvidence(roc_auc=BETTER, log_loss=LOWER),
                "shadow": evidence_of(self.settings, before.version, version.version)[0],
                **changes,
            }
        decision = decide(replace(EVIDENCE, **changes), self.settings.gate)
        figures = {"roc_auc": 0.75, "clock": "2026-03-01"}
        return version, conclude_as(self.settings, version, decision, figures=figures)

    def train_two(self, days=DAYS):
        """A champion and a version that was in shadow of it on these days."""
        (first, _), (second, entry) = self.train(), self.train()
        for day in days:
            self.serve(day, (first.version, second.version))
        return first, second, entry

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

    def champion(self) -> int:
        return champion_now(self.settings).version


@pytest.fixture(scope="module")
def var(tmp_path_factory):
    """One for all: MLflow needs seconds to make its database."""
    return tmp_path_factory.mktemp("store") / "var"


@pytest.fixture
def shop(var, request):
    return Shop(var, request.node.name[5:45])


def test_a_version_that_only_has_to_be_in_shadow_is_promoted_when_it_has_been(shop):
    first, entry = shop.train()
    assert entry.action == "promote", "the first champion has nothing to be in shadow of"
    second, entry = shop.train()
    assert entry.action == "reject"
    for said in (
        "in shadow of the champion on 0 days, 0 rows",
        "--serving.shadow challenger --serving.log_requests true",
        "make shadow",
        "--promote",
    ):
        assert said in entry.reason
    versions = (first.version, second.version)
    for day in DAYS[:2]:
        assert shop.conclude() is None
        shop.serve(day, versions)
    promoted = shop.conclude()
    assert (promoted.action, promoted.by, promoted.open) == ("promote", "gate", False)
    assert (promoted.from_version, promoted.to_version) == versions
    assert shop.champion() == second.version
    assert "in shadow of the champion on 2 days, 400 rows" in promoted.reason
    assert f"held by record {entry.sequence}" in promoted.reason
    rules = {rule["rule"]: rule for rule in promoted.rules}
    assert rules["shadow"]["held"] and rules["shadow"]["figure"] == 2
    assert list(rules) == [rule["rule"] for rule in entry.rules]
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
    first, second, _ = shop.train_two(days=())
    versions = (first.version, second.version)
    for day in DAYS[:2]:
        shop.serve(day, versions, rows=20)
    assert shop.conclude() is None and "on 2 days, 40 rows" in shop.why_not()
    shop.serve(DAYS[2], versions, rows=1000, shift=0.45)
    assert shop.conclude() is None and "the agreement of the two decisions is" in shop.why_not()
    assert shop.champion() == first.version


def test_days_in_shadow_of_another_champion_do_not_count(shop):
    first, second, _ = shop.train_two()
    third, _ = shop.train()  # the newest one is meant
    assert shop.conclude() is None and "on 0 days" in shop.why_not()
    promote_manually(shop.client, shop.settings, second.version)
    for day in DAYS:
        shop.serve(day, (second.version, third.version))
    assert shop.conclude() is None
    why = f"it was compared with version {first.version}, and version {second.version} is champion"
    assert why in shop.why_not()


def test_rows_that_have_become_too_old_meanwhile_are_not_promoted(var):
    shop = Shop(var, "old", "--gate.max_data_age_days", "10", "--operations.today", "2026-03-05")
    shop.train_two()
    later = shop.settings.operations.model_copy(update={"today": date(2026, 3, 20)})
    then = shop.settings.model_copy(update={"operations": later})
    assert conclude_shadow(shop.client, then) is None
    assert "its newest row is 21 days old by now" in why_not_promoted(shop.client, then)
    assert shop.conclude().action == "promote"


def test_a_bundle_that_was_altered_meanwhile_is_refused(shop):
    first, second, _ = shop.train_two()
    with (second.bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleRefused):
        shop.conclude()
    assert shop.champion() == first.version


def test_a_gate_that_does_not_ask_concludes_nothing(shop):
    shop.train_two()
    gate = shop.settings.gate.model_copy(update={"shadow_days": None})
    settings = shop.settings.model_copy(update={"gate": gate})
    assert conclude_shadow(shop.client, settings) is None
    assert "gate.shadow_days is not set" in why_not_promoted(shop.client, settings)


def test_a_version_that_was_promoted_and_taken_back_manually_is_not_promoted_again(shop):
    first, second, _ = shop.train_two()
    promote_manually(shop.client, shop.settings, second.version)
    promote_manually(shop.client, shop.settings, first.version)
    assert shop.conclude() is None and shop.champion() == first.version


def test_the_command_shows_the_comparison_and_promotes_only_when_it_is_told_to(var, capsys):
    shop = Shop(var, "smoke")

    def type_(*words: str) -> tuple[int, str]:
        code = shadow.run([*words, "--config", "smoke", "--var", str(var), *ASKS])
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    code, said = type_()
    assert code == 1 and "there is no challenger beside the champion" in said
    first, second, _ = shop.train_two(days=())
    code, said = type_()
    assert code == 0 and "Version 2 in shadow of version 1 has not scored a row yet" in said
    assert "Next make serve" in said or "--serving.shadow challenger" in said
    code, said = type_("--promote")
    assert code == 1 and "version 2 is not promoted: in shadow of the champion on 0 days" in said
    for day in DAYS:
        shop.serve(day, (first.version, second.version))
    code, said = type_()
    assert code == 0 and "600 rows on 3 days (2026-03-01 to 2026-03-03)" in said
    assert "champion 1 challenger 2 mean probability" in said and "--promote" in said
    assert shop.champion() == first.version
    code, said = type_("--promote")
    assert code == 0 and "Version 2 of golden-path-smoke is champion, in place of version 1" in said
    assert history(shop.client, shop.settings)[-1].action == "promote"


def test_the_labels_come_from_the_log_of_the_data_set(tmp_path):
    shop = Shop(tmp_path, "smoke")
    assert purchases_of(shop.settings) is None, "without a key nobody can be found again"
    key = read_key(shop.settings.var / "serving" / "log.key")
    bought = purchases_of(shop.settings)
    assert bought.key == key and bought.transactions.is_file()
    first, second, _ = shop.train_two(days=())
    day = bought.known_until - timedelta(days=shop.settings.features.horizon_days + 1)
    before = [("invoiced_at", "<", datetime(day.year, day.month, day.day))]
    rows = pq.read_table(bought.transactions, columns=["customer_id"], filters=before)
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
    _, compared = evidence_of(shop.settings, first.version, second.version, bought)
    assert compared.labelled == len(names) and 0 < compared.positives < len(names)
    shown = on_page(compared, ("said",))
    assert (shown.rows, shown.days, shown.text[-1]) == (len(names), 1, "said")
    assert shown.figures["ms a row, median"] == ("1.000", "2.000")
