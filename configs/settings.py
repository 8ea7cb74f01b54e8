"""One typed settings model. `configs/load.py` fills it; every stage takes the part it needs.

Frozen and strict: an unknown key is refused, `"10"` in a YAML file is not a number, and nothing
changes after start. Every field says what it is, because `--help` and `docs/settings.md` are made
from these lines.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from configs.errors import UserError

CONTRACT = Path(__file__).parent / "contract.yaml"
Share = Annotated[float, Field(ge=0, le=1)]


# The canonical columns of a transaction log (`ingestion/canonical.py` says what each holds), and
# `amount`, which a source may have in place of a quantity or a unit price.
CANONICAL = (
    *("invoice_id", "product_id", "description", "quantity"),
    *("unit_price", "invoiced_at", "customer_id", "country"),
)


# A path or a list arrives from YAML as a string or a list: the one conversion we want.
def _plain_path(value: object) -> object:
    if isinstance(value, str | Path) and (str(value).strip() == "" or set("*?") & set(str(value))):
        raise ValueError("a path must not be empty, and must not contain * or ?")
    return value


def _several(value: object) -> object:
    """One path or a list of them; text may hold a glob."""
    if value is None:
        return ()
    values = [str(value)] if isinstance(value, str | Path) else value
    if isinstance(values, list | tuple) and any(str(part).strip() == "" for part in values):
        raise ValueError("a path must not be empty")
    return values


FilePath = Annotated[Path, Field(strict=False), BeforeValidator(_plain_path)]
FilePaths = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_several)]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Words = Annotated[tuple[str, ...], Field(strict=False)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Drift(Section):
    """What changes in a simulated shop at a date, for monitoring to find (`docs/simulator.md`)."""

    on: date | None = Field(None, description="first day of the drift, in the log; none: no drift")
    price_level: float = Field(1.0, ge=0.1, le=10, description="multiplies unit prices")
    customer_mix: Share = Field(
        0.0, description="share of new customers who live abroad and order for half as much"
    )
    purchase_rate: float = Field(1.0, ge=0, le=5, description="multiplies the rates of buying")
    missing_customers: Share = Field(
        0.0, description="share of repeat invoices that lose their customer"
    )
    broken_unit: Share = Field(
        0.0, description="share of lines, by product, that count pieces at the price of a dozen"
    )


class Simulation(Section):
    """Size and dirt of the simulated log (`ingestion/simulation/simulator.py`)."""

    customers: int = Field(3000, ge=50, le=5_000_000, description="customers born within the log")
    start: date = Field(date(2024, 1, 1), description="first day of the log")
    days: int = Field(730, ge=200, le=3650, description="length of the log in days")
    lines_per_invoice: float = Field(13.0, ge=1, le=200, description="mean lines per invoice")
    products: int = Field(3000, ge=20, le=100_000, description="products in the catalogue")
    # Fitted to how often and how soon customers of Online Retail II buy again (docs/simulator.md).
    purchase_shape: float = Field(0.6, gt=0, description="BG/NBD r: shape of the purchase rates")
    purchase_scale_weeks: float = Field(6.9, gt=0, description="BG/NBD alpha, in weeks")
    dropout_a: float = Field(0.2, gt=0, description="BG/NBD a: drop-out after a purchase")
    dropout_b: float = Field(1.8, gt=0, description="BG/NBD b: drop-out after a purchase")
    season: Share = Field(0.8, description="strength of the season: 0 none, 1 the autumn doubles")
    anonymous_share: float = Field(0.22, ge=0, le=0.9, description="share of lines, no customer")
    cancelled_share: float = Field(0.02, ge=0, le=0.5, description="share of lines that cancel one")
    dirt: float = Field(1.0, ge=0, le=50, description="multiplies the rates of all other dirt")
    drift: Drift = Drift()


class Text(Section):
    """How text files (.csv, .tsv, .txt, also .gz) are written (`ingestion/formats.py`)."""

    delimiter: str | None = Field(
        None, description="what parts values: , ; | tab whitespace; none: seen in the first line"
    )
    names: Words = Field((), description="column names of a file without a header row")
    encoding: Literal["utf-8", "latin-1", "windows-1252", "utf-16"] = Field(
        "utf-8", description="of the file"
    )
    decimal: Literal[".", ","] = Field(".", description="decimal mark of numbers in text")
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        "", description="thousands separator of numbers in text; none: numbers have none"
    )


# USER:PASSWORD@ as SQLAlchemy finds it, and where a mistyped URL has it; NAME= of what is secret.
LOGIN = re.compile(r"(?:(?<!/)//|^)[^:/]*:(?!//)[^@]*@")
SECRET = re.compile(r"(?:password|passwd|pwd|secret|token|key)\w*\s*=", re.IGNORECASE)


class Database(Section):
    """A table or a query of a database (`ingestion/database.py`)."""

    url: str | None = Field(None, description="SQLAlchemy URL, without the password")
    password_variable: str = Field(
        "DATABASE_PASSWORD", description="environment variable that holds the password, if any"
    )
    table: str | None = Field(None, description="table or view to read, as name or schema.name")
    query: str | None = Field(None, description="SELECT to read in place of a table")
    watermark: str | None = Field(
        None, description="column that only grows: a second run reads what lies above it"
    )
    chunk_rows: int = Field(100_000, ge=100, le=10_000_000, description="rows read at a time")

    @model_validator(mode="after")
    def _no_password(self) -> Database:
        """Whatever the kind of the source: settings are shown, and written beside what a run makes.

        Raises UserError, which no layer above it dresses up with the value.
        """
        url = self.url or ""
        query = unquote_plus(unquote_plus(url.partition("?")[2]))  # odbc_connect=…;PWD%3D…
        if LOGIN.search(url) or SECRET.search(query):
            raise UserError(
                "the URL holds a password",
                where="source.database.url",
                next_step="take it out: passwords come from the environment variable named by"
                f" source.database.password_variable ({self.password_variable}), or ~/.pgpass",
            )
        return self


class Source(Section):
    """Where the rows come from."""

    kind: Literal["simulated", "files", "database"] = Field(
        "simulated", description="where rows come from"
    )
    path: FilePaths = Field(
        (), description="files or globs to read (.parquet .csv .tsv .txt, also .gz; .xlsx)"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="canonical column -> column of the source, for those it has; none: all, as is",
    )
    time_format: str | None = Field(None, description="strptime format of text times; none: ISO")
    text: Text = Text()
    database: Database = Database()
    simulation: Simulation = Simulation()

    @property
    def declared(self) -> frozenset[str]:
        """The columns that this source has: canonical names, and `amount`."""
        return frozenset(self.columns or CANONICAL)


Column = Literal[
    "invoice_id",
    "product_id",
    "description",
    "quantity",
    "unit_price",
    "invoiced_at",
    "customer_id",
    "country",
    "unreadable_values",
    "in_future",
    "sold_quantity",
    "copy_number",
]
Measure = Literal[
    "rows",
    "days",
    "anonymous_share",
    "cancelled_share",
    "duplicate_share",
    "valid_share",
    "unreadable_quantity",
    "unreadable_unit_price",
    "unreadable_amount",
    "unreadable_invoiced_at",
    "history_change",
    "volume_change",
    "anonymous_change",
    "price_change",
]


COUNTED = ("unreadable_values", "in_future", "sold_quantity", "copy_number")
TEXTS = ("invoice_id", "product_id", "description", "customer_id", "country")
NUMBERS = ("quantity", "unit_price", *COUNTED)
# Without these a row cannot be counted for anyone: the rules about them are not to be switched off.
NEEDED = ("missing_customer", "missing_time", "missing_quantity", "missing_price")


class Rule(Section):
    """One rule of the data contract: about a column of each row, or a measure of the batch.

    A row that breaks a rule of severity `quarantine` goes there with the rule's name as its reason;
    a batch that breaks one of severity `stop` is refused; `warn` is said and changes nothing.
    """

    severity: Literal["stop", "quarantine", "warn", "ignore"] = Field(description="what follows")
    why: str = Field(min_length=1, description="the reason for the rule, for people")
    column: Column | None = Field(None, description="of each row: what the rule is about")
    measure: Measure | None = Field(None, description="of the batch: what the rule is about")
    required: bool = Field(False, description="the column must have a value")
    forbidden: float | None = Field(None, description="the one value it must not have")
    pattern: str | None = Field(None, description="the regular expression it must match")
    low: float | None = Field(None, description="the least it may be")
    high: float | None = Field(None, description="the most it may be")

    @model_validator(mode="after")
    def _one_check(self) -> Rule:
        if (self.column is None) == (self.measure is None):
            raise ValueError("a rule is about a column of each row, or about a measure")
        bounded = self.low is not None or self.high is not None
        checks = (self.required, self.forbidden is not None, self.pattern is not None, bounded)
        if sum(checks) != 1 or (self.measure and not bounded):
            raise ValueError(
                "a rule has one check: low and high, or for a column required, forbidden or pattern"
            )
        if bounded and self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low:g}, above high, {self.high:g}: nothing keeps it")
        if self.pattern is not None and self.column not in TEXTS:
            raise ValueError(f"a pattern is for text, and {self.column} is none")
        if self.column and (bounded or self.forbidden is not None) and self.column not in NUMBERS:
            raise ValueError(f"low, high and forbidden are for numbers, and {self.column} is none")
        if self.severity == ("stop" if self.column else "quarantine"):
            raise ValueError(
                "rows go to quarantine and batches are stopped: severity is "
                + ("quarantine, warn or ignore" if self.column else "stop, warn or ignore")
            )
        return self


def default_rules() -> dict[str, Any]:
    """The rules of `configs/contract.yaml`, which every data set starts from."""
    return yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))["contract"]["rules"]


class Contract(Section):
    """The data contract (`configs/contract.yaml`), and what its rules need to know."""

    rules: dict[str, Rule] = Field(
        default_factory=default_rules,
        validate_default=True,
        description="the rules; see docs/contract.md",
    )
    cancellation_prefix: str = Field(
        "C", description="what a cancelling invoice begins with; empty: a negative quantity cancels"
    )
    not_after: date | None = Field(None, description="later rows are in the future; none: now")
    audit_rows: int = Field(
        100_000, ge=1, description="rows on which Great Expectations audits what DuckDB finds"
    )

    @field_validator("rules")
    @classmethod
    def _needed(cls, rules: dict[str, Rule]) -> dict[str, Rule]:
        for name in NEEDED:
            if name in rules and rules[name].severity != "quarantine":
                raise ValueError(
                    f"{name} cannot be {rules[name].severity}: {rules[name].why}, so such a row is"
                    " always kept out"
                )
        return rules


class Compute(Section):
    """What DuckDB may use (`configs/duck.py`)."""

    memory_mb: int = Field(2000, ge=256, description="most memory of a query; the rest spills")
    threads: int | None = Field(None, ge=1, description="threads of a query; none: every core")


class Features(Section):
    """The question, and the dates it is asked on (`features/`)."""

    horizon_days: int = Field(90, ge=1, le=365, description="label: buys within this many days")
    active_days: int = Field(365, ge=1, le=1095, description="who is asked about: bought within")
    min_history_days: int = Field(180, ge=1, description="log before the first as-of date")
    train_dates: int = Field(10, ge=1, le=120, description="most as-of dates to train on, monthly")
    valid_dates: int = Field(1, ge=1, le=24, description="as-of dates to validate on, monthly")
    test_dates: int = Field(1, ge=1, le=24, description="as-of dates to test on, monthly")
    last_as_of: date | None = Field(
        None, description="last test date; none: the last whose label window is complete"
    )
    home_country: str = Field("United Kingdom", description="the feature is_home compares with it")
    invoice_days: int = Field(
        7, ge=0, le=365, description="an invoice number seen again after more days is a new invoice"
    )
    max_feature_roc_auc: float = Field(
        0.85, ge=0.5, le=1, description="a single feature that surely scores above it stops the run"
    )


class Tuning(Section):
    """The budget of the contest: the same for every family (`training/tuning.py`)."""

    trials: int = Field(20, ge=1, le=10_000, description="trials per family")
    seconds: float = Field(
        120.0,
        gt=0,
        description="ends a family's search with trials left, but then it does not repeat",
    )
    workers: int = Field(2, ge=1, le=64, description="families tuned side by side")


class Training(Section):
    """Families and how they are scored (`training/`)."""

    families: Names = Field(
        ("tabm", "xgboost", "logistic"), description="modules of training/families, slowest first"
    )
    bootstrap: int = Field(1000, ge=50, le=100_000, description="resamples behind each interval")
    threshold: Share = Field(0.5, description="decision: contact when the probability is at least")


class Gate(Section):
    """What a challenger must show (`registry/gate.py`)."""

    min_gain: float = Field(0.0, ge=-1, le=1, description="ROC AUC gain: low end of the interval")
    max_log_loss_rise: float = Field(0.005, ge=0, description="log loss may rise by this much")
    replace_unscorable: bool = Field(
        False, description="let a champion go that cannot be scored on today's test rows"
    )
    max_export_difference: float = Field(1e-5, gt=0, description="ONNX against the original")


class Serving(Section):
    """Where the service listens (`serving/`)."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(3000, ge=1, le=65535, description="port to listen on")
    max_rows: int = Field(1000, ge=1, description="most customers in one request")


class Ui(Section):
    """Where `make ui` shows what the runs left (`flows/ui.py`)."""

    mlflow_port: int = Field(5000, ge=1, le=65535, description="MLflow's page")
    prefect_port: int = Field(4200, ge=1, le=65535, description="Prefect's page")


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
    var: FilePath = Field(Path("var"), description="folder for everything that a run makes")
    source: Source = Source()
    contract: Contract = Contract()
    compute: Compute = Compute()
    features: Features = Features()
    tuning: Tuning = Tuning()
    training: Training = Training()
    gate: Gate = Gate()
    serving: Serving = Serving()
    ui: Ui = Ui()
