"""The canonical columns of a transaction log, and how any column is read into them.

Every source ends in *parts*: Parquet files with `source` (the file or table a row came from),
`source_row` (1-based, as a person would count the rows there), the eight canonical columns, and
`unreadable`: the values that could not be read, kept as text so that quarantine can show them.
In a text file that includes any value of more than `LINE_ENDS` line ends: two stray quotes, lines
apart, have taken what is between them for one value. Its beginning is kept. Of an identifier it is
a number of which digits are lost, as in `4.00638E+12`: it stands for many identifiers.

What a source does not have is NULL, with these exceptions:

- **amount**, the value of a line, may stand for what is missing of quantity and unit price. Alone:
  the line is one piece at that value, `quantity` is its sign (0 counts as a sale) and `unit_price`
  its size. With a quantity: `unit_price = amount / quantity`; where the two differ in sign the
  price is negative, which the contract sets aside, because either could be the wrong one.
- **invoice_id**: where no column is declared, what a customer buys on one day (UTC) is one invoice:
  `1997-01-01 00004`. The day comes first, so that no customer id looks like a cancellation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from common.duck import literal, quoted
from common.spelling import BLANKS
from configs.source import Text

COLUMNS = {
    "invoice_id": "VARCHAR",
    "product_id": "VARCHAR",
    "description": "VARCHAR",
    "quantity": "BIGINT",
    "unit_price": "DOUBLE",
    "invoiced_at": "TIMESTAMP",
    "customer_id": "VARCHAR",
    "country": "VARCHAR",
}
MAPPED = {**COLUMNS, "amount": "DOUBLE"}  # what a source may declare

EARLIEST, LATEST = "TIMESTAMP '1900-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"
LINE_ENDS, SHOWN = 10, 200  # in a value of a text file; characters that are kept of a longer one
EXACT = 2**53  # beyond it doubles have gaps
# Of numbers in text, as patterns: a blank may be thin or one that does not break, ' a typographic
# one, and a minus a dash.
BLANK = "[ \u00a0\u2007\u2009\u202f]"
THOUSANDS = {"": "", ",": ",", ".": r"\.", " ": BLANK, "'": "['’]", "_": "_"}
MINUS = "\u2212\u2013-"  # in a class
EXACT_FLOAT = 2**24
# A large double as spreadsheets and programs write it: 4.00638E+12, 4,00638E12, 1e+18. 12E5 is a
# code.
ROUNDED = r"[+-]?\d+([.,]\d+)?[eE]\+\d+|\d[.,]\d+[eE]\d+"
CODES = ("customer_id", "invoice_id", "product_id")
# Names that `source.time_format` may have in place of a format: numbers of units since a day.
EPOCHS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3, "excel_days": 864e8}
LATEST_MICROSECOND = 253_402_300_800_000_000  # of the year 9999
EXCEL_DAY_OF_EPOCH = 25569  # 1970-01-01
INTEGER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")


def select_canonical(
    relation: str,
    mapping: dict[str, str],
    types: dict[str, str],
    time_format: str | None,
    *,
    source: str,
    number: str = "row_number() OVER ()",
    text: Text | None = None,
    times: str | None = None,
    also_iso: bool = False,
    constants: Mapping[str, str] | None = None,
) -> str:
    """SQL that reads a relation into the columns of a part.

    mapping: canonical column, or amount -> column of the relation.  types: its columns -> DuckDB
    types.  number: SQL of `source_row`.  text: how numbers are written, for text files.
    times: a column with the times of those rows whose `invoiced_at` is a time, and no text of one.
    also_iso: whether a text that is not in the `time_format` may be an ISO time.
    constants: of the columns that the relation does not have -> the text in each of their rows.
    Times become UTC when the session's time zone is UTC.
    """
    values = {column: literal(text) for column, text in (constants or {}).items()}
    values_of = [
        f"{values.get(column, quoted(column))} AS source_{name}" for name, column in mapping.items()
    ]
    values_of += [f"{quoted(times)} AS source_time"] if times else []
    raw = [
        f"{f'source_{name}' if text is None else _within_lines(f'source_{name}')} AS raw_{name}"
        for name in mapping
    ]
    readers = {
        name: _reader(name, types[column], time_format, text) for name, column in mapping.items()
    }
    if times:
        readers["invoiced_at"] = f"coalesce({_in_range('source_time')}, {readers['invoiced_at']})"
    if also_iso and time_format and "invoiced_at" in mapping:
        iso = _reader("invoiced_at", types[mapping["invoiced_at"]], None, text)
        readers["invoiced_at"] = f"coalesce({readers['invoiced_at']}, {iso})"
    read = [f"{reader} AS {name}" for name, reader in readers.items()]
    failed = {}
    for name, column in mapping.items():
        if MAPPED[name] != "VARCHAR":
            failed[name] = f"{name} IS NULL AND {_has_value(f'source_{name}', types[column])}"
        elif text is not None or name in CODES:
            rounded = _rounded(f"raw_{name}", types[column]) if name in CODES else "false"
            failed[name] = (
                f"CASE WHEN {name} IS NULL THEN"
                f" {rounded} OR raw_{name} IS NULL AND source_{name} IS NOT NULL ELSE false END"
            )
    kept = ", ".join(
        f"CASE WHEN {condition} THEN {literal(name + '=')} || {_shown(name)} END"
        for name, condition in failed.items()
    )
    columns = ", ".join(
        f"{name if name in mapping else _made_up(name, mapping)} AS {name}" for name in COLUMNS
    )
    # Two things a row need not pay for: a list is only filtered where something failed, and the
    # constant is an ENUM of one value, of which Parquet makes text without looking at each row.
    return f"""
        WITH numbered AS (SELECT {number} AS source_row, {", ".join(values_of)} FROM {relation}),
        whole AS (SELECT *, {", ".join(raw)} FROM numbered),
        readable AS (SELECT *, {", ".join(read)} FROM whole)
        SELECT CAST({literal(source)} AS ENUM({literal(source)})) AS source, source_row, {columns},
            CASE WHEN {" OR ".join(f"({condition})" for condition in failed.values())}
            THEN list_filter([{kept}], lambda value: value IS NOT NULL)
            ELSE []::VARCHAR[] END AS unreadable
        FROM readable
    """


def _made_up(name: str, mapping: dict[str, str]) -> str:
    """SQL of a canonical column that the source does not have."""
    if name == "quantity" and "amount" in mapping:
        return "CAST(CASE WHEN amount < 0 THEN -1 WHEN amount IS NOT NULL THEN 1 END AS BIGINT)"
    if name == "unit_price" and "amount" in mapping:  # + 0.0: 0 / -1 is -0.0
        return "amount / nullif(quantity, 0) + 0.0" if "quantity" in mapping else "abs(amount)"
    if name == "invoice_id":
        return "CAST(CAST(invoiced_at AS DATE) AS VARCHAR) || ' ' || customer_id"
    return f"CAST(NULL AS {COLUMNS[name]})"


def _reader(name: str, kind: str, time_format: str | None, text: Text | None) -> str:
    """SQL that reads `raw_<name>` of a DuckDB type as the canonical column, or as NULL."""
    raw = f"raw_{name}"
    match name:
        case "product_id":  # 173 codes of the published log differ only in letter case
            return f"upper({read_code(raw, kind)})"
        case "customer_id" | "invoice_id":
            return read_code(raw, kind)
        case "quantity" if INTEGER.fullmatch(kind):  # no way through text or double: faster
            return f"CAST(CASE WHEN {raw} BETWEEN -{EXACT} AND {EXACT} THEN {raw} END AS BIGINT)"
        case "quantity":  # a fraction is unreadable, not rounded
            number = read_number(raw, kind, text)
            whole = f"{number} = floor({number}) AND abs({number}) <= {EXACT}"
            return f"CASE WHEN {whole} THEN CAST({number} AS BIGINT) END"
        case "unit_price" | "amount":
            number = read_number(raw, kind, text)
            return number if INTEGER.fullmatch(kind) else _finite(number)
        case "invoiced_at":
            return _in_range(_time(raw, kind, time_format, text))
    return read_text(raw)


def _in_range(time: str) -> str:
    """A year of two digits is read as the year 10, and `infinity` as a time."""
    return f"CASE WHEN {time} BETWEEN {EARLIEST} AND {LATEST} THEN {time} END"


def _within_lines(value: str) -> str:
    """A value of a text file; NULL if it runs over so many lines that a stray quote began it. Most
    values are shorter than the ten lines of a log, and need no look inside."""
    ends = (f"len({value}) - len(replace({value}, {end}, ''))" for end in ("chr(10)", "chr(13)"))
    few = f"greatest({', '.join(ends)}) <= {LINE_ENDS}"
    return f"CASE WHEN strlen({value}) <= {5 * LINE_ENDS} OR {few} THEN {value} END"


def _shown(name: str) -> str:
    """An unreadable value as text. Of one that ran over many lines, the beginning."""
    value = f"CAST(source_{name} AS VARCHAR)"
    cut = f"left({value}, {SHOWN}) || '… (' || len({value}) || ' characters)'"
    return f"CASE WHEN raw_{name} IS NULL THEN {cut} ELSE {value} END"


def _finite(number: str) -> str:
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def read_text(raw: str) -> str:
    """The value as text without the blanks around it; nothing but blanks is a missing value."""
    return f"nullif(trim(CAST({raw} AS VARCHAR), {literal(BLANKS)}), '')"


def _has_value(raw: str, kind: str) -> str:
    """Return SQL of whether there is a value. Only text can consist of blanks."""
    return f"{read_text(raw) if kind == 'VARCHAR' else raw} IS NOT NULL"


def read_code(raw: str, kind: str) -> str:
    """A code or an id as text. Columns with missing values are often written as 13085.0."""
    if INTEGER.fullmatch(kind):
        return f"CAST({raw} AS VARCHAR)"
    if kind.startswith("DECIMAL"):
        return f"regexp_replace(CAST({raw} AS VARCHAR), '[.]0+$', '')"
    if kind in ("DOUBLE", "FLOAT"):  # NaN: a missing one
        return (
            f"CASE WHEN NOT isfinite({raw}) OR {_rounded(raw, kind)} THEN NULL"
            f" WHEN {raw} = floor({raw}) THEN CAST(CAST({raw} AS BIGINT) AS VARCHAR)"
            f" ELSE CAST({raw} AS VARCHAR) END"
        )
    text = read_text(raw)  # looking at the end is ten times faster than a regular expression
    return (
        f"CASE WHEN suffix({text}, '.0') AND length({text}) > 2"
        f" THEN CASE WHEN NOT {_rounded(raw, kind)} THEN {text}[:-3] END"
        f" WHEN (contains({text}, '+') OR {text}[2] IN ('.', ','))"
        f" AND {_rounded(raw, kind)} THEN NULL ELSE {text} END"
    )


def _rounded(raw: str, kind: str) -> str:
    """Whether a code or an id is a number that has lost digits: in a double or a float, or as text
    that was made of one."""
    if INTEGER.fullmatch(kind) or kind.startswith("DECIMAL"):
        return "false"
    if kind in ("DOUBLE", "FLOAT"):
        limit = EXACT if kind == "DOUBLE" else EXACT_FLOAT
        return f"(isfinite({raw}) AND abs({raw}) >= {limit})"
    text = read_text(raw)
    long = f"suffix({text}, '.0') AND length({text}) > 17"
    return (
        f"CASE WHEN {long} THEN coalesce(TRY_CAST({text} AS DOUBLE) >= {EXACT}, false)"
        f" ELSE regexp_full_match({text}, {literal(ROUNDED)}) END"
    )


def read_number(raw: str, kind: str, written: Text | None) -> str:
    """SQL that reads a value of a DuckDB type as a DOUBLE, or as NULL where it is not a number.

    Text is read as `written` says, and only what is wholly written that way: 1,00 is not a hundred
    where the comma is for thousands, and 2.55 is nothing where the comma is the decimal mark.
    Whatever it says, −5 is -5, and so are (5) and 5-, as accounts have them.
    """
    if INTEGER.fullmatch(kind) or kind.startswith(("DOUBLE", "FLOAT", "DECIMAL")):
        return f"CAST({raw} AS DOUBLE)"
    text, written = read_text(raw), written or Text()
    mark, groups = re.escape(written.decimal), THOUSANDS[written.thousands]
    whole = rf"(\d+|[1-9]\d{{0,2}}({groups}\d{{3}})+" if groups else r"(\d+"
    whole += r"|[1-9]\d?(,\d\d)+,\d{3})" if groups == "," else ")"  # 1,23,456, as in India
    number = rf"({whole}({mark}\d*)?|{mark}\d+)([eE][+{MINUS}]?\d+)?"
    symbol = "|".join(map(re.escape, sorted(written.symbols, key=len, reverse=True)))
    before, after = (rf"(({symbol}){BLANK}?)?", rf"({BLANK}?({symbol}))?") if symbol else ("", "")
    sign = rf"([+{MINUS}]{BLANK}?)?"
    form = f"{sign}{before}{sign if symbol else ''}{number}{after}"
    negative = rf"{before}\({before}{number}{after}\){after}|{before}{number}{after}[{MINUS}]"
    dropped = "|".join(filter(None, (groups, symbol, BLANK, r"[()]", rf"[{MINUS}]$")))
    plain = f"regexp_replace({text}, {literal(dropped)}, '', 'g')"
    size = f"TRY_CAST(translate({plain}, '{MINUS}{written.decimal}', '---.') AS DOUBLE)"
    read = (
        f"CASE WHEN regexp_full_match({text}, {literal(form)}) THEN {size}"
        f" WHEN regexp_full_match({text}, {literal(negative)}) THEN 0 - {size} END"
    )
    if not written.plain:
        return read
    # Nearly all are read at once, which is faster. DuckDB reads 1_000 as a thousand, and +-5.
    usual = f"NOT contains({text}, '_') AND NOT contains({text}, '+-')"
    return f"coalesce(CASE WHEN {usual} THEN TRY_CAST({text} AS DOUBLE) END, {read})"


def _time(raw: str, kind: str, time_format: str | None, written: Text | None) -> str:
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"CAST({raw} AS TIMESTAMP)"
    if time_format in EPOCHS:
        number = read_number(raw, kind, written)
        since = f"{number} - {EXCEL_DAY_OF_EPOCH}" if time_format == "excel_days" else number
        micros = f"round(({since}) * {EPOCHS[time_format]!r})"
        if time_format == "excel_days":  # which are doubles: the tick of the clock is a millisecond
            micros = f"round({micros} / 1000) * 1000"
        within = f"abs({micros}) < {LATEST_MICROSECOND}"
        return f"CASE WHEN {within} THEN make_timestamp(CAST({micros} AS BIGINT)) END"
    text = read_text(raw) if kind == "VARCHAR" else read_code(raw, kind)  # 19970101, 19970101.0
    if time_format:
        time = f"CAST(try_strptime({text}, {literal(time_format)}) AS TIMESTAMP)"
    else:  # with a time zone first: DuckDB would drop the +01 of a text otherwise
        time = f"CAST(TRY_CAST({text} AS TIMESTAMPTZ) AS TIMESTAMP)"
    # `epoch` and `infinity` are times to DuckDB.
    return f"CASE WHEN regexp_matches({text}, '[0-9]') THEN {time} END"
