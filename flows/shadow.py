"""The challenger in shadow: how it compares with the champion, and whether that is enough.

With `gate.shadow_days` a training ends with a rejection until the service has had the challenger in
shadow for so many days (`serving.shadow`). The version stays challenger meanwhile; here the one
rule that was broken is judged again, and the ledger gets a second record about the version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from common.customer_hash import read_key
from configs.make_command import make
from configs.settings import Settings
from flows.clock import day_of, today
from monitoring.facts import ShadowComparison, end_of
from monitoring.shadow import Purchases, compare_shadow, harm
from registry import ledger
from registry.champion import ModelVersion, find_champion, model_name, verify_version, versions
from registry.decisions import conclude
from registry.evidence import ShadowEvidence
from registry.gate import Decision, shadow_rule

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from registry.chain import Record
    from reports.monitoring_state import Shadow

PROMOTE = "--promote"
RULE = "shadow"


@dataclass(frozen=True)
class Standing:
    """What is known of a version that was rejected until it has been in shadow. rejection: the
    record; comparison: with the champion that it was compared with; rule: "shadow", judged now, as
    a dict; why_not: what else prevents its promotion, "" where nothing does."""

    version: ModelVersion
    rejection: Record
    comparison: ShadowComparison
    rule: dict[str, Any]
    why_not: str

    @property
    def ready(self) -> bool:
        return bool(self.rule["held"]) and not self.why_not


def evidence_of(
    settings: Settings, champion: int, challenger: int, purchases: Purchases | None = None
) -> tuple[ShadowEvidence, ShadowComparison]:
    """Return what the service has seen of two versions, for the gate and for people. Raises
    UserError where the comparison needs more memory than it may have."""
    folder = settings.var.absolute() / "serving"
    comparison = compare_shadow(
        folder / "shadow",
        model_name(settings),
        champion,
        challenger,
        purchases=purchases,
        compute=settings.compute,
        spill=folder if folder.is_dir() else None,
    )
    serve = make(
        "serve", settings, "--serving.shadow", "challenger", "--serving.log_requests", "true"
    )
    then = make("shadow", settings, PROMOTE)
    seen = ShadowEvidence(
        comparison.days,
        comparison.rows,
        harm(comparison, settings.gate),
        next_step=f"{serve}, and when it has received requests for so long: {then}",
    )
    return seen, comparison


def standing(
    client: MlflowClient, settings: Settings, purchases: Purchases | None = None
) -> Standing | None:
    """Return what is known of the latest registered version, where its last record is a rejection
    whose one broken rule is "shadow", and the gate still requires days. Raises LedgerBroken."""
    days = settings.gate.shadow_days
    newest = next(iter(versions(client, settings)), None)
    if days is None or newest is None:
        return None
    past = ledger.trusted(client, settings)
    about = [one for one in past if one.to_version == newest.version and one.action != "trigger"]
    if not about or about[-1].action != "reject":
        return None
    rejection = about[-1]
    broken = [rule["rule"] for rule in rejection.rules if not rule["held"]]
    if broken != [RULE] or rejection.from_version is None:
        return None
    champion = rejection.from_version
    evidence, comparison = evidence_of(settings, champion, newest.version, purchases)
    rule = asdict(shadow_rule(evidence, days, settings.gate))
    why_not = _changed(client, settings, champion) or _too_old(settings, rejection)
    return Standing(newest, rejection, comparison, rule, why_not)


def conclude_shadow(
    client: MlflowClient, settings: Settings, purchases: Purchases | None = None
) -> Record | None:
    """Promote the version that was rejected only until it has been in shadow, when it has been
    there long enough and nothing speaks against it: the record, None where there is nothing to do.

    purchases: for the labels of the pairs; none: without them. Raises ChampionChanged, LedgerBroken
    and BundleRefused, with nothing promoted.
    """
    waiting = standing(client, settings, purchases)
    if waiting is None or not waiting.ready:
        return None
    verify_version(waiting.version, ledger.trusted(client, settings))  # it was registered days ago
    before, rule = waiting.rejection, waiting.rule
    rules = tuple(rule if one["rule"] == RULE else one for one in before.rules)
    reason = f"held: {rule['found']} ({rule['limit']}); the others are held by record"
    reason = f"{reason} {before.sequence}"
    return conclude(
        client,
        settings,
        version=waiting.version,
        decision=Decision("promote", (reason,), rules),
        expected_champion=before.from_version,
        figures={**before.figures, RULE: figures_of(waiting.comparison)},
        data_sha256=before.data_sha256,
        code_revision=before.code_revision,
        run_id=before.run_id,
    )


def why_not_promoted(
    client: MlflowClient, settings: Settings, purchases: Purchases | None = None
) -> str:
    """Return why `conclude_shadow` promotes nothing, in a sentence."""
    if settings.gate.shadow_days is None:
        return "the gate asks for no days in shadow (gate.shadow_days is not set)"
    waiting = standing(client, settings, purchases)
    if waiting is None:
        return "no version waits for its days in shadow: see make models for the decisions"
    if waiting.why_not:
        return f"version {waiting.version.version} is not promoted: {waiting.why_not}"
    rule = waiting.rule
    return f"version {waiting.version.version} is not promoted: {rule['found']} ({rule['limit']})"


def figures_of(comparison: ShadowComparison) -> dict[str, float]:
    """Return the numbers of a comparison, for the ledger."""
    values = asdict(comparison)
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def purchases_of(settings: Settings) -> Purchases | None:
    """Return who bought, by the present log; None for a labelled table, and where there is no log
    of requests whose customers could be matched with it."""
    from flows.watch import watch

    key = settings.var.absolute() / "serving" / "log.key"
    if settings.source.kind == "table" or not key.is_file():
        return None
    watched = watch(settings)
    if not watched.whole:
        return None
    return Purchases(
        watched.transactions,
        settings.features,
        read_key(key),
        known_until=end_of(watched.whole[-1]),
    )


def sides(comparison: ShadowComparison) -> list[tuple[str, str, str]]:
    """Return name, the champion's and the challenger's figure, as they are shown."""
    rows = [("mean probability", comparison.mean_champion, comparison.mean_challenger, ".4f")]
    rows += [
        ("ms a row, median", comparison.champion_median_ms, comparison.challenger_median_ms, ".3f"),
        (
            *("ms a row, 99th percentile", comparison.champion_p99_ms),
            *(comparison.challenger_p99_ms, ".3f"),
        ),
    ]
    return [
        (name, format(ours, how), format(theirs, how))
        for name, ours, theirs, how in rows
        if ours is not None and theirs is not None
    ]


def on_page(comparison: ShadowComparison, reasons: tuple[str, ...] = ()) -> Shadow | None:
    """Return the comparison for the page of monitoring; None where there are no pairs."""
    from reports.monitoring_state import Shadow

    if comparison.state == "none":
        return None
    return Shadow(
        comparison.champion,
        comparison.challenger,
        comparison.days,
        comparison.rows,
        (comparison.text, *reasons),
        {name: (ours, theirs) for name, ours, theirs in sides(comparison)},
    )


def _changed(client: MlflowClient, settings: Settings, compared_with: int) -> str:
    now = find_champion(client, settings)
    if now is not None and now.version == compared_with:
        return ""
    return (
        f"it was compared with version {compared_with}, and version {now.version if now else '–'}"
        f" is champion now: {make('train', settings)}"
    )


def _too_old(settings: Settings, rejection: Record) -> str:
    """Return why its rows are too old by now, "" where they are not: that rule was judged on the
    day of the training."""
    limit = settings.gate.max_data_age_days
    age = next((one["figure"] for one in rejection.rules if one["rule"] == "freshness"), None)
    if limit is None or age is None:
        return ""
    trained = date.fromisoformat(day_of(rejection))
    age += (today(settings) - trained).days
    if age <= limit:
        return ""
    return (
        f"its newest row is {age:g} days old by now, at most {limit} are allowed"
        f" (gate.max_data_age_days): {make('train', settings)}"
    )
