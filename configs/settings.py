"""One typed settings model. `configs/load.py` fills it; every stage takes the part it needs.

Frozen and strict: an unknown key is refused, `"10"` in a YAML file is not a number, and nothing
changes after start. Every field says what it is, because `--help` and `docs/settings.md` are made
from these lines.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from common.duck import MEMORY_MB
from configs.rules import Contract
from configs.section import FilePath, Names, Section, VarFolder, Words
from configs.source import Source
from configs.url import from_variable, refuse_password


class Compute(Section):
    """What DuckDB may use (`common/duck.py`)."""

    memory_mb: int = Field(
        MEMORY_MB, ge=256, description="maximum memory of a query; the rest spills"
    )
    threads: int | None = Field(None, ge=1, description="threads of a query; none: every core")


class Features(Section):
    """The question, and the dates it is asked on (`features/`)."""

    # What a model of a log answers: models that differ in one of these cannot be compared.
    question: ClassVar = ("horizon_days", "active_days", "home_country", "invoice_days")

    horizon_days: int = Field(
        90, ge=1, le=365, description="prediction horizon in days: the label is a purchase in it"
    )
    active_days: int = Field(
        365,
        ge=1,
        le=1095,
        description="activity window in days: a customer who bought in it gets a row",
    )
    min_history_days: int = Field(180, ge=1, description="log before the first as-of date")
    train_dates: int = Field(
        10, ge=1, le=120, description="maximum of as-of dates to train on, monthly"
    )
    valid_dates: int = Field(
        3, ge=1, le=24, description="as-of dates to validate on, monthly: the choice is their mean"
    )
    test_dates: int = Field(1, ge=1, le=24, description="as-of dates to test on, monthly")
    last_as_of: date | None = Field(
        None, description="last test date; none: the last whose label window is complete"
    )
    home_country: str = Field("United Kingdom", description="the feature is_home compares with it")
    invoice_days: int = Field(
        7, ge=0, le=365, description="an invoice number seen again after more days is a new invoice"
    )
    max_feature_roc_auc: float = Field(
        0.85,
        ge=0.5,
        le=1,
        description="a single feature whose ROC AUC is reliably above it stops the run",
    )


class Tuning(Section):
    """The budget of the model comparison: the same for every family (`training/tuning.py`)."""

    trials: int = Field(20, ge=1, le=10_000, description="trials per family")
    seconds: float = Field(
        180.0,
        gt=0,
        description="ends a family's search with trials left, but then it does not repeat",
    )
    families_at_once: int = Field(2, ge=1, le=64, description="families tuned side by side")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes on one family's search; with several, results are not reproducible",
    )
    storage: str | None = Field(
        None, description="SQLAlchemy URL of the studies, no password; none: SQLite under var/"
    )
    password_variable: str = Field(
        "OPTUNA_PASSWORD", description="environment variable with the password of tuning.storage"
    )

    @model_validator(mode="after")
    def _no_password(self) -> Tuning:
        advice = from_variable(self.password_variable, "tuning.password_variable")
        refuse_password(self.storage, "tuning.storage", advice)
        return self


class Training(Section):
    """Families and how they are scored (`training/`)."""

    families: Names = Field(
        ("tabm", "xgboost", "logistic"), description="modules of training/families, slowest first"
    )
    ensemble: bool = Field(True, description="a weighted mean of the families is a candidate too")
    calibration: Literal["auto", "season", "platt", "none"] = Field(
        "auto", description="auto: season where the table has as-of dates, platt where not"
    )
    bootstrap: int = Field(1000, ge=50, le=100_000, description="resamples behind each interval")
    contact_cost: float | None = Field(
        None,
        gt=0,
        description="cost of contacting one customer; none: no decision",
    )
    sale_value: float | None = Field(
        None,
        gt=0,
        description="value of a sale: contact when probability x value covers the cost",
    )
    samples: int = Field(
        5,
        ge=0,
        le=50,
        description="sample customers kept in the bundle, for the page of the service",
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Training:
        if (self.contact_cost is None) != (self.sale_value is None):
            raise ValueError(
                "contact_cost and sale_value go together: set both, or none for no decision"
            )
        return self

    @property
    def threshold(self) -> float | None:
        """Contact from this probability on: the expected value covers the cost (Elkan 2001). A
        contact that costs more than a sale is worth never pays: then it is 1. Without costs there
        is none."""
        if self.contact_cost is None or self.sale_value is None:
            return None
        return min(1.0, self.contact_cost / self.sale_value)


class Gate(Section):
    """What a challenger must show (`registry/gate.py`)."""

    min_baseline_gain: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="ROC AUC gain over the best single feature: low end of the interval; none: only"
        " gate.baseline_margin counts",
    )
    baseline_margin: float = Field(
        0.02,
        ge=0,
        le=1,
        description="ROC AUC may be below the best single feature's by at most this",
    )
    min_gain: float = Field(
        0.0, ge=-1, le=1, description="ROC AUC gain over the champion: low end of the interval"
    )
    margin: float = Field(
        0.002,
        ge=0,
        le=1,
        description="or: ROC AUC reliably not worse by this, log loss reliably better",
    )
    max_log_loss_rise: float = Field(0.005, ge=0, description="log loss may rise by this much")
    max_calibration_error: float = Field(0.1, ge=0, le=1, description="on the test split")
    slice_min_rows: int = Field(200, ge=20, description="smaller slices are shown, not judged")
    max_slice_drop: float = Field(
        0.05, ge=0, le=1, description="ROC AUC of a slice may fall by this under the champion's"
    )
    max_latency_ms: float = Field(
        5.0, gt=0, description="one row through the exported model on its core, 99th percentile"
    )
    max_data_age_days: int | None = Field(
        None, ge=1, description="the newest row may be this old at the decision; none: any age"
    )
    change_features: bool = Field(
        False, description="allow a challenger that needs other features of a request"
    )
    replace_unscorable: bool = Field(
        False, description="replace a champion that cannot be scored on today's test rows"
    )
    shadow_days: int | None = Field(
        None,
        ge=1,
        le=365,
        description="days that a challenger must have been in shadow; none: not required",
    )
    shadow_rows: int = Field(
        1000, ge=100, description="rows that both must have answered in these days"
    )
    shadow_agreement: float = Field(
        0.8,
        ge=-1,
        le=1,
        description="share of these rows with the same decision; without costs, rank correlation",
    )
    max_export_difference: float = Field(1e-5, gt=0, description="ONNX against the original")


class Serving(Section):
    """Where the service listens, and what it lets a client have (`serving/`)."""

    host: str = Field("127.0.0.1", description="address to listen on; beyond loopback with a token")
    port: int = Field(3000, ge=1, le=65535, description="port to listen on")
    workers: int = Field(1, ge=1, le=64, description="processes that answer")
    max_rows: int = Field(1000, ge=1, le=100_000, description="maximum of customers in one request")
    max_lines: int = Field(
        20_000, ge=1, le=1_000_000, description="maximum of invoice lines in one request"
    )
    max_explained: int = Field(
        20, ge=1, le=1000, description="maximum of customers to explain at once"
    )
    max_concurrency: int = Field(
        64, ge=1, le=10_000, description="requests at once per worker; one more is answered 429"
    )
    max_seconds: float = Field(
        10.0, gt=0, le=600, description="a request that takes longer is answered 503"
    )
    opening_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        description="CPU time to open a champion and score its own examples",
    )
    opening_megabytes: int = Field(
        1000, ge=300, le=100_000, description="memory that this may take; a larger one is refused"
    )
    watch_seconds: float = Field(
        2.0, ge=0.1, le=3600, description="how often the champion is looked up"
    )
    token_variable: str = Field(
        "SERVING_TOKEN", description="environment variable with the token that clients must send"
    )
    token_file: FilePath | None = Field(None, description="or a file that holds the token")
    allowed_hosts: Words = Field(
        (), description="host names that clients may use, besides loopback and serving.host"
    )
    log_requests: bool = Field(
        False, description="keep requests and answers, in Parquet under var/serving/log"
    )
    shadow: Literal["none", "challenger"] = Field(
        "none", description="the version of this alias scores the same requests, unseen by clients"
    )
    shadow_share: float = Field(
        0.25, gt=0, le=1, description="most of one core that it takes, in each worker"
    )


class Prefect(Section):
    """Where runs are recorded (`flows/prefect_api.py`) and deployed (`make deploy`)."""

    api_url: str | None = Field(
        None, description="a Prefect API, as http://HOST:4200/api; none: one of the run's own"
    )
    work_pool: str = Field(
        "golden-path",
        pattern=r"^[\w.-]{1,100}$",
        description="the work pool of `make deploy` and `make worker`: one for each folder var/",
    )

    @model_validator(mode="after")
    def _no_password(self) -> Prefect:
        advice = "the environment variables PREFECT_API_KEY and PREFECT_API_AUTH_STRING"
        refuse_password(self.api_url, "prefect.api_url", advice)
        return self


class Tracking(Section):
    """Where MLflow keeps runs, models and decisions (`registry/tracking.py`)."""

    uri: str | None = Field(
        None, description="an MLflow server, as http://HOST:5000; none: SQLite under var/"
    )

    @model_validator(mode="after")
    def _no_password(self) -> Tracking:
        advice = (
            "the environment variables MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or"
            " MLFLOW_TRACKING_TOKEN"
        )
        refuse_password(self.uri, "tracking.uri", advice)
        if self.uri is not None and not self.uri.startswith(("http://", "https://")):
            raise ValueError("the uri of an MLflow server begins with http:// or https://")
        return self


class Ui(Section):
    """Where `make ui` shows what the runs left (`flows/commands/ui.py`)."""

    mlflow_port: int = Field(5000, ge=1, le=65535, description="MLflow's page")
    prefect_port: int = Field(4200, ge=1, le=65535, description="Prefect's page")


class Scoring(Section):
    """The monthly list of scores (`serving/batch.py`)."""

    explained: int = Field(
        10_000,
        ge=0,
        le=1_000_000,
        description="customers, by probability, for whom the list says what moved the score most",
    )
    max_gap_days: int = Field(
        14,
        ge=0,
        le=366,
        description="the log may end this many days before the as-of date, not more",
    )


class Alerts(Section):
    """Where alerts go, besides the file under var/ (`monitoring/alerts.py`)."""

    webhook: Literal["none", "json", "alertmanager"] = Field(
        "none", description="POST alerts: as JSON, or to the API of Alertmanager, version 2"
    )
    webhook_variable: str = Field(
        "ALERTS_WEBHOOK_URL",
        description="environment variable with the URL: many such URLs are secrets themselves",
    )
    webhook_token_variable: str = Field(
        "ALERTS_WEBHOOK_TOKEN", description="environment variable with a bearer token, if any"
    )
    smtp_host: str | None = Field(None, description="mail server; none: no mail")
    smtp_port: int = Field(25, ge=1, le=65535, description="its port")
    smtp_tls: Literal["none", "starttls", "tls"] = Field(
        "none", description="how the connection to it is encrypted"
    )
    smtp_user: str | None = Field(None, description="log in to it under this name")
    smtp_password_variable: str = Field(
        "ALERTS_SMTP_PASSWORD", description="environment variable with the password of that name"
    )
    mail_from: str = Field("golden-path@localhost", description="sender of the mails")
    mail_to: Words = Field((), description="who gets them")
    seconds: float = Field(10.0, gt=0, le=300, description="time limit of one delivery")

    @model_validator(mode="after")
    def _complete(self) -> Alerts:
        if (self.smtp_host is None) != (not self.mail_to):
            raise ValueError("smtp_host and mail_to go together: set both, or none for no mail")
        return self


class Operations(Section):
    """The clock, and when to retrain (`flows/operate.py`)."""

    today: date | None = Field(
        None, description="the clock: later rows are ignored; none: today (UTC)"
    )
    start: date | None = Field(
        None, description="a day in the first month to operate; none: the latest month that is over"
    )
    late_days: int = Field(
        0,
        ge=0,
        le=31,
        description="a month is complete if so many of its last days have no row, besides those on"
        " which the shop is always closed; any number where later rows are there",
    )
    baseline_months: int = Field(
        12, ge=12, le=36, description="months that the frozen baseline of the sensors is made of"
    )
    pool_dates: int = Field(
        3, ge=1, le=12, description="as-of dates with ripe labels that are judged together"
    )
    retrain_months: int = Field(
        3, ge=0, le=24, description="train by calendar after so many months; 0: never"
    )
    cooldown_days: int | None = Field(
        None, ge=0, le=730, description="days between two trainings; none: one horizon"
    )


class Settings(BaseSettings):
    """Everything that can be set. See `configs/load.py` for the order of the layers."""

    model_config = SettingsConfigDict(
        frozen=True, strict=True, extra="forbid", env_prefix="GOLDEN_PATH_", validate_default=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `configs/load.py` hands over: it layers the sources and remembers places."""
        return (init_settings,)

    name: str = Field("default", description="the preset: configs/<name>.yaml")
    file: FilePath | None = Field(None, description="the preset's file, if not in configs/")
    seed: int = Field(7, ge=0, le=2**31 - 1, description="seed of everything that is drawn")
    var: VarFolder = Field(Path("var"), description="folder for everything that a run makes")
    source: Source = Source()
    contract: Contract = Contract()
    compute: Compute = Compute()
    features: Features = Features()
    tuning: Tuning = Tuning()
    training: Training = Training()
    gate: Gate = Gate()
    serving: Serving = Serving()
    scoring: Scoring = Scoring()
    operations: Operations = Operations()
    alerts: Alerts = Alerts()
    prefect: Prefect = Prefect()
    tracking: Tracking = Tracking()
    ui: Ui = Ui()

    @property
    def dataset(self) -> str:
        """The data set that a run reads: batches are compared within it.

        The preset names it. Another simulated world is another data set; a longer or drifted log of
        the same one is not.
        """
        if self.source.kind != "simulated":
            return self.name
        world = self.source.simulation.model_dump(mode="json", exclude={"days", "drift"})
        digest = hashlib.sha256(json.dumps([world, self.seed], sort_keys=True).encode())
        return f"{self.name}-{digest.hexdigest()[:8]}"
