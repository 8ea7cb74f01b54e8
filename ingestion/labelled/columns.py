"""What the name of a column of an unknown table says of its values, and what is counted of them:
the facts that the guess about it (`guess.py`) is made from.

Digits that name something do not measure anything, whatever type the file gives them. A name is a
hint and no proof: what follows from it is marked to be checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

from common.duck import literal, quoted
from configs.table import LONGEST_TEXT
from ingestion.canonical import EPOCHS, EXCEL_DAY_OF_EPOCH, ROUNDED, read_number
from ingestion.labelled.rules import LARGEST

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from configs.source import Text


PERSONS = (
    *("customer", "client", "patient", "person", "user", "member", "subscriber", "household"),
    *("account", "acct", "subject", "student", "employee", "passenger", "guest", "donor"),
    *("borrower", "applicant", "participant", "respondent", "driver", "player", "visitor"),
    *("policyholder", "cardholder", "email", "cust", "msisdn", "cliente", "hh"),
    *("kunde", "kunden", "konto"),
)
THINGS = (  # things that have a number
    *("policy", "contract", "loan", "card", "order", "invoice", "transaction", "encounter"),
    *("machine", "device", "vehicle", "meter", "property", "parcel", "claim", "case", "ticket"),
    *("visit", "booking", "passport", "tax", "registration", "vertrag", "vertrags", "rechnungs"),
)
CODES = (
    *("zip", "zipcode", "postcode", "postal", "plz", "postleitzahl", "code", "cod"),
    *("phone", "telephone", "telefon", "tel", "mobile", "fax", "iban", "bic"),
    *("sku", "ean", "upc", "isbn", "naics", "sic", "fips", "msa"),
    *("store", "shop", "branch", "agent", "company", "supplier", "vendor", "dealer", "terminal"),
    *("channel", "region", "district", "department", "dept", "employer", "school"),
    *("type", "class", "status", "category", "segment"),
)
KINDS = (  # an identifier of one of these names a class of rows, and not one of them
    *("kind", "group", "level", "source", "disposition", "reason", "country", "state", "city"),
    *("location", "plan", "product", "item"),
    *CODES,
)
DIAGNOSES = ("icd", "diag")
ALWAYS = ("id", "uuid", "guid", "identifier", "pid", "uid", "ssn", "imei", "vin")
NUMBERS = ("no", "nr", "nbr", "num", "number", "nummer", "key", "ref", "pk")
COUNTS = ("n", *NUMBERS, "count", "total", "sum", "mean", "avg", "max", "min", "has", "is")
# months_as_customer, distance_to_store, type_of_client: a measure or a class, whoever it is about.
RELATIONS = ("per", "as", "of", "with", "since", "to", "in", "at", "for", "by", "from", "anzahl")
# The names under which pandas, Spark and R save the row names of a table, or a column without one.
SAVED = re.compile(r"unnamed.*|(__)?index(_level_\d+__)?|level_0|rownames?")
ROWS = (
    *("", "x", "column", "c", "row", "row number", "row num", "row no", "row nr", "row id"),
    *("row index", "rownum", "rownumber", "rowid", "line", "line number", "line no", "record"),
    *("record number", "record no", "serial", "serial number", "serial no", "s no", "sno"),
    *("sr no", "sl no", "no", "nr", "num", "number", "n", "order", "seq", "sequence", "obs"),
    *("observation", "lfd nr", "lfdnr"),
)
JOINED = re.compile(rf"({'|'.join((*PERSONS, *THINGS, *KINDS))})(id|{'|'.join(NUMBERS)})")

Role = Literal["person", "identifier", "number", "kind", "code", "diagnosis", ""]
# Texts that exports write where there is no value. `None` and `-` are not among them: both are
# honest categories too often.
NO_VALUES = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "?", r"\N")
CATEGORIES = 30  # the most frequent are named, the others are one
DIRTY = 0.02  # share of values that may be unreadable in a column of numbers
DATES = (
    *("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y%m%d", "%d-%m-%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%Y-%m", "%Y%m", "%b %Y", "%B %Y", "%b-%Y", "%b-%y"),
)
# Characters of a day in that form, where strptime takes more or fewer.
LENGTHS = {"%Y%m%d": "= 8", "%Y-%m": "= 7", "%Y%m": "= 6", "%d-%b-%y": "<= 9", "%b-%y": "= 6"}
LENGTHS |= dict.fromkeys(("%d/%m/%y", "%m/%d/%y", "%d.%m.%y"), "<= 8")
SEEN = 200  # values by which the form of dates is found
YEARS = (date(2000, 1, 1), date(2035, 1, 1))  # times that numbers count to
COUNTED = {  # of `EPOCHS`, in words
    **{"epoch_s": "seconds since 1970", "epoch_ms": "milliseconds since 1970"},
    **{"epoch_us": "microseconds since 1970", "epoch_ns": "nanoseconds since 1970"},
    "excel_days": "days as a spreadsheet counts them",
}
TIMES = ("time", "timestamp", "ts", "date", "epoch", "created", "updated", "at", "datetime")
DAYS = ("date", "datetime", "dob", "birthdate", "birthday")
LONG = 10_000  # a number of five digits may be the number of something
DIGITS = 1e15  # more digits than a spreadsheet keeps, and hardly a measurement
IS_ROUNDED = f"regexp_full_match(value, {literal(ROUNDED)})"
# SQL of a hash, a UUID or an e-mail address: what stands for somebody, whatever the column's name.
OPAQUE = "regexp_full_match(value, '[0-9a-fA-F-]{16,}|[^@ ]+@[^@ ]+')"


def words(name: str) -> list[str]:
    """`CustomerID`, `customer_id 2` and `customerid` as [customer, id]."""
    parted = re.sub(r"([^\W\d_A-Z]|\d)([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", name)
    each = [word.strip("0123456789") for word in re.findall(r"[^\W_]+", parted.casefold())]
    joined = [JOINED.fullmatch(word) for word in each]
    return [
        part
        for word, two in zip(each, joined, strict=True)
        for part in (two.groups() if two else (word,))
        if part
    ]


def role_of(name: str) -> Role:
    """Return the role of a column according to its name.

    person: names a person, an account or a household.  identifier: names something else.  number:
    may be the number of something, if the values look so.  kind: an identifier of a class of rows,
    such as `plan_id`.  code: may have no order, such as postcodes.  diagnosis: a code that may have
    a decimal point.  An empty text: nothing of these.
    """
    parts = words(name)
    if not parts:
        return ""
    last, before = parts[-1], set(parts[:-1])
    named = last in ALWAYS  # pk_customer_id, and not number_of_accounts
    if before & set(RELATIONS) or (before and parts[0] in COUNTS and not named):
        return ""
    if set(parts) & set(DIAGNOSES) and last not in COUNTS:
        return "diagnosis"
    if last in (*ALWAYS, *NUMBERS):
        for word in reversed(parts[:-1]):  # store_customer_id is a customer's
            if word in PERSONS:
                return "person"
            if word in KINDS:
                return "kind"
        return "identifier" if last in ALWAYS or before & set(THINGS) else "number"
    if last in PERSONS and before <= {*PERSONS, *ALWAYS, *NUMBERS}:  # not loyalty_member
        return "person"
    if last in CODES:
        return "code"
    return "number" if set(parts) & set(ALWAYS) else ""


def is_saved_index(name: str) -> bool:
    """Whether a column of that name is the index of a table that was saved with it."""
    return SAVED.fullmatch(name.strip().casefold()) is not None


def may_number_rows(name: str) -> bool:
    """Whether a column of that name may be the number of the row, if the values are."""
    return is_saved_index(name) or " ".join(words(name)) in ROWS


@dataclass(frozen=True)
class Facts:
    """What was counted of a column's values. filled: rows with a value.  numbers, whole: values
    that are one, and finite.  padded: digits behind a zero.  rounded: 4.00638E+12.  lettered: a
    letter before digits.  blanks: values with a blank inside.  hundreds: whole hundreds."""

    rows: int
    filled: int
    distinct: int
    length: float
    too_long: int
    numbers: int
    whole: int
    infinite: int
    low: float | None
    high: float | None
    padded: int
    rounded: int
    lettered: int
    blanks: int
    hundreds: int

    @property
    def numeric(self) -> bool:
        return self.numbers >= self.filled * (1 - DIRTY)

    @property
    def all_whole(self) -> bool:
        return self.whole == self.filled

    @property
    def unique(self) -> bool:
        return self.distinct == self.filled == self.rows

    @property
    def running(self) -> bool:
        ends = self.low is not None and self.high is not None
        return self.unique and self.all_whole and ends and self.high - self.low == self.rows - 1  # type: ignore[operator]

    @property
    def huge(self) -> bool:
        return self.all_whole and (self.high or 0) >= DIGITS

    @property
    def like_accounts(self) -> bool:
        """As many digits in each, most of them not round: few measurements look so."""
        low, high = self.low or 0, self.high or 0
        even = low >= LONG and len(f"{low:.0f}") == len(f"{high:.0f}")
        unround = self.hundreds < 0.1 * self.filled
        return even and unround and self.all_whole and self.distinct > CATEGORIES

    @property
    def like_codes(self) -> bool:
        """Return whether the values are mostly digits without being numbers: 02139, or V27 among
        250.83 and 401."""
        strays = self.filled - self.numbers
        lettered = self.lettered > max(1, 0.8 * strays) and self.numbers > 0.5 * self.filled
        return self.padded > 1 or lettered


class Column:
    """A column of the relation `texts`, whose columns are text or NULL."""

    def __init__(self, connection: DuckDBPyConnection, name: str, text: Text | None) -> None:
        """text: how numbers are written, of a text file."""
        self.connection, self.name = connection, name
        self.value = given(quoted(name))
        self.number = read_number("value", "VARCHAR", text)
        self.absent = tuple(text for text, _ in present(connection, quoted(name)))

    def facts(self) -> Facts:
        counts = self.connection.execute(f"""
            WITH given AS (SELECT {self.value} AS value FROM texts),
            read AS (SELECT value, {self.number} AS number, abs(number) <= {LARGEST!r} AS finite
                     FROM given)
            SELECT count(*), count(value), count(DISTINCT value), avg(length(value)),
                   count(*) FILTER (length(value) > {LONGEST_TEXT}), count(number),
                   count(*) FILTER (finite AND number = floor(number)),
                   count(*) FILTER (NOT finite AND NOT isnan(number)),
                   min(number) FILTER (finite), max(number) FILTER (finite),
                   count(*) FILTER (regexp_full_match(value, '0[0-9]+')),
                   count(*) FILTER ({IS_ROUNDED}),
                   count(*) FILTER (number IS NULL AND regexp_full_match(value,
                                    '[A-Za-z]{{1,2}}[0-9][0-9.]*')),
                   count(*) FILTER (contains(value, ' ')),
                   count(*) FILTER (number % 100 = 0)
            FROM read
        """).fetchall()[0]
        return Facts(*counts)

    def count(self, condition: str) -> int:
        query = f"SELECT count(*) FROM (SELECT {self.value} AS value FROM texts) WHERE {condition}"
        return int(self.connection.execute(query).fetchall()[0][0])

    def some(self, condition: str) -> str:
        """Some of the values for which the condition holds, in words."""
        texts = self.connection.execute(
            f"SELECT DISTINCT value FROM (SELECT {self.value} AS value FROM texts)"
            f" WHERE value IS NOT NULL AND {condition} ORDER BY 1 LIMIT 3"
        ).fetchall()
        return ", ".join(repr(text[:30]) for (text,) in texts)

    def most_frequent(self) -> list[tuple[str, int]]:
        return self.connection.execute(
            f"SELECT value, count(*) FROM (SELECT {self.value} AS value FROM texts) WHERE"
            f" length(value) <= {LONGEST_TEXT} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {CATEGORIES}"
        ).fetchall()

    def is_date(self, facts: Facts) -> bool:
        """Whether nearly all values are dates of this and the last century in a usual way."""
        counts = {}
        forms = ("%Y%m%d", "%Y%m") if facts.numeric else DATES  # numbers can be no others
        for form in forms:
            # What follows a day is its time.
            day = f"array_to_string(string_split(value, ' ')[1:{form.count(' ') + 1}], ' ')"
            day = "left(value, 10)" if form.startswith("%Y") else day
            exact = f"length({day}) {LENGTHS.get(form, '>= 8')}"
            year = f"year(try_strptime({day}, '{form}'))"
            counts[form] = f"count(*) FILTER ({exact} AND {year} BETWEEN 1900 AND 2100)"
        given = f"SELECT {self.value} AS value FROM texts WHERE value IS NOT NULL"
        some = self.connection.execute(
            f"SELECT {', '.join(counts.values())} FROM ({given} LIMIT {SEEN})"
        ).fetchall()[0]
        best = max(some)
        if best < min(SEEN, facts.filled) / 2:
            return False
        form = forms[some.index(best)]
        dates = self.connection.execute(f"SELECT {counts[form]} FROM ({given})").fetchall()[0][0]
        return int(dates) >= facts.filled * (1 - DIRTY)


def counted_time(facts: Facts, forms: Collection[str], first: date = YEARS[0]) -> str:
    """What the numbers count, where all are times between `first` and the end of `YEARS` in one of
    the forms (`EPOCHS`), in words; "" for none."""
    if not facts.numeric or facts.low is None or facts.high is None:
        return ""
    for form in forms:
        zero = EXCEL_DAY_OF_EPOCH if form == "excel_days" else 0
        low, high = ((value - zero) * EPOCHS[form] / 864e8 for value in (facts.low, facts.high))
        since = date(1970, 1, 1)
        if (first - since).days <= low and high <= (YEARS[1] - since).days:
            ends = " to ".join(str(since + timedelta(days=day)) for day in (low, high))
            return f"{COUNTED[form]}, from {ends}"
    return ""


def days_of(name: str, facts: Facts) -> str:
    """Describe the times that a column counts, judged by the size of its values; days only if its
    name says so, seconds and shorter units also if the values are many."""
    name_words = set(words(name))
    if name_words & set(DAYS) and (days := counted_time(facts, ["excel_days"], date(1910, 1, 1))):
        return days
    many = facts.distinct > CATEGORIES or name_words & set(TIMES)
    return counted_time(facts, [form for form in EPOCHS if form != "excel_days"]) if many else ""


def given(column: str) -> str:
    """Return SQL of a text, or NULL if it stands for a missing value."""
    return f"CASE WHEN {column} NOT IN ({', '.join(map(literal, NO_VALUES))}) THEN {column} END"


def present(connection: DuckDBPyConnection, column: str) -> list[tuple[str, int]]:
    """Count the texts that stand for a missing value in a column of `texts`."""
    listed = ", ".join(map(literal, NO_VALUES))
    return connection.execute(
        f"SELECT {column}, count(*) FROM texts WHERE {column} IN ({listed}) GROUP BY 1 ORDER BY 1"
    ).fetchall()
