"""What the name of a column says of its values: an identifier, a code, or the number of a row.

Digits that name something do not measure anything, whatever type the file gives them. A name is a
hint and no proof: what follows from it is marked to be checked (`ingestion/labelled/guess.py`).
"""

from __future__ import annotations

import re
from typing import Literal

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

Says = Literal["person", "identifier", "number", "kind", "code", "diagnosis", ""]


def words(name: str) -> list[str]:
    """`CustomerID`, `customer_id 2` and `customerid` as [customer, id]."""
    parted = re.sub(r"([^\W\d_A-Z]|\d)([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", name)
    found = [word.strip("0123456789") for word in re.findall(r"[^\W_]+", parted.casefold())]
    joined = [JOINED.fullmatch(word) for word in found]
    return [
        part
        for word, two in zip(found, joined, strict=True)
        for part in (two.groups() if two else (word,))
        if part
    ]


def says(name: str) -> Says:
    """What a name says.

    person: names a person, an account or a household.  identifier: names something else.  number:
    may be the number of something, if the values look so.  kind: an identifier of a class of rows,
    such as `plan_id`.  code: may have no order, such as postcodes.  diagnosis: a code that may have
    a decimal point.  An empty text: nothing of these.
    """
    found = words(name)
    if not found:
        return ""
    last, before = found[-1], set(found[:-1])
    named = last in ALWAYS  # pk_customer_id, and not number_of_accounts
    if before & set(RELATIONS) or (before and found[0] in COUNTS and not named):
        return ""
    if set(found) & set(DIAGNOSES) and last not in COUNTS:
        return "diagnosis"
    if last in (*ALWAYS, *NUMBERS):
        for word in reversed(found[:-1]):  # store_customer_id is a customer's
            if word in PERSONS:
                return "person"
            if word in KINDS:
                return "kind"
        return "identifier" if last in ALWAYS or before & set(THINGS) else "number"
    if last in PERSONS and before <= {*PERSONS, *ALWAYS, *NUMBERS}:  # not loyalty_member
        return "person"
    if last in CODES:
        return "code"
    return "number" if set(found) & set(ALWAYS) else ""


def is_saved_index(name: str) -> bool:
    """Whether a column of that name is the index of a table that was saved with it."""
    return SAVED.fullmatch(name.strip().casefold()) is not None


def may_number_rows(name: str) -> bool:
    """Whether a column of that name may be the number of the row, if the values are."""
    return is_saved_index(name) or " ".join(words(name)) in ROWS
