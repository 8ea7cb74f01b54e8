"""The settings of where rows come from: files, a database, the simulator, or a labelled table."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from configs.section import FilePaths, Section, Share, Words
from configs.table import Table
from configs.url import from_variable, refuse_password

# The canonical columns of a transaction log (`ingestion/canonical.py` says what each holds), and
# `amount`, which a source may have in place of a quantity or a unit price.
CANONICAL = (
    *("invoice_id", "product_id", "description", "quantity"),
    *("unit_price", "invoiced_at", "customer_id", "country"),
)


# A path or a list arrives from YAML as a string or a list: the one conversion we want.


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
    """Size and dirt of the simulated log (`simulator/simulator.py`)."""

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
    """How text files (.csv .tsv .txt and the like, also .gz) are written (`ingestion/text.py`)."""

    delimiter: str | None = Field(
        None,
        description="what separates values: , ; | tab whitespace; none: seen in the first line",
    )
    names: Words = Field((), description="column names of a file without a header row, as in a,b")
    skip_lines: int = Field(
        0, ge=0, le=10_000, description="lines above the header that are left out, such as a title"
    )
    encoding: Literal["utf-8", "latin-1", "windows-1252", "utf-16"] = Field(
        "utf-8", description="of the file"
    )
    escape: Literal["quote", "backslash"] = Field(
        "quote", description='how a quote within quotes is written: quote: "", backslash: \\"'
    )
    any_suffix: bool = Field(
        False, description="read a file of any other name as text, such as export.log"
    )
    decimal: Literal[".", ","] = Field(".", description="decimal mark of numbers in text")
    thousands: Literal["", ",", ".", " ", "'", "_"] = Field(
        "", description="thousands separator of numbers in text; none: numbers have none"
    )
    symbols: Words = Field(
        (), description="what may stand before or after a number in text, such as $ or %"
    )

    @property
    def plain(self) -> bool:
        """Whether numbers are written the usual way: 1234.5."""
        return (self.decimal, self.thousands, self.symbols) == (".", "", ())


class Form(Section):
    """How a source writes its values. A bundle keeps it, so that the service reads as training did.

    A bundle of before it was kept has none: the service then takes times as ISO only.
    """

    time_format: str | None = Field(None, description="of times as text; none: ISO")
    text: Text | None = Field(
        None, description="how numbers are written as text; none: they never are"
    )
    missing_values: tuple[str, ...] = Field(
        (), strict=False, description="texts of a table that stand for a missing value"
    )


class Database(Section):
    """A table or a query of a database (`ingestion/database.py`)."""

    url: str | None = Field(None, description="SQLAlchemy URL, without the password")
    password_variable: str = Field(
        "DATABASE_PASSWORD", description="environment variable that holds the password, if any"
    )
    table: str | None = Field(None, description="table or view to read, as name or schema.name")
    query: str | None = Field(None, description="SELECT to read in place of a table")
    watermark: str | None = Field(
        None, description="column that only grows: a later run reads the rows above it"
    )
    chunk_rows: int = Field(100_000, ge=100, le=10_000_000, description="rows read at a time")

    @model_validator(mode="after")
    def _no_password(self) -> Database:
        """Whatever the kind of the source: settings are shown, and written beside what a run makes.

        Raises UserError, which no layer above it dresses up with the value.
        """
        advice = from_variable(self.password_variable, "source.database.password_variable")
        refuse_password(self.url, "source.database.url", advice)
        return self


class Source(Section):
    """Where the rows come from."""

    kind: Literal["simulated", "files", "database", "table"] = Field(
        "simulated", description="where rows come from; table: a row per example, with a label"
    )
    path: FilePaths = Field(
        (),
        description="files to read (.parquet .xlsx .csv .tsv .txt, also .gz); * ? ** match several",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="canonical column -> column of the source, for those it has; none: all, as is",
    )
    time_format: str | None = Field(
        None,
        description="strptime format of text times, or epoch_s epoch_ms epoch_us epoch_ns"
        " excel_days for numbers; none: ISO",
    )
    text: Text = Text()
    database: Database = Database()
    table: Table = Table()
    simulation: Simulation = Simulation()

    @property
    def declared(self) -> frozenset[str]:
        """The columns that this source has: canonical names, and `amount`."""
        return frozenset(self.columns or CANONICAL)

    @property
    def form(self) -> Form:
        """What the service has to know to read values as this source writes them."""
        missing = self.table.missing_values if self.kind == "table" else ()
        text = self.text if self.kind == "files" else None
        return Form(time_format=self.time_format, text=text, missing_values=missing)

    @property
    def wanted(self) -> list[str]:
        """The columns of the source that are read, of a log."""
        return [self.columns.get(name, name) for name in sorted(self.declared)]
