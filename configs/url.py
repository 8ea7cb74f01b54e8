"""URLs of databases and services in settings: only parts that hold no password are allowed.

Settings are shown, logged, and written beside what a run makes. A list of forbidden names would
always lack one (`PWD`, `sslpassword`, `motherduck_token`), so this is a list of what may stay.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

from common.errors import UserError

# Parameters that say where a database is and how to reach it.
ALLOWED = (
    *("application_name", "channel_binding", "charset", "client_encoding", "connect_timeout"),
    *("driver", "encrypt", "gssencmode", "host", "hostaddr", "keepalives", "mode", "options"),
    *("passfile", "port", "role", "schema", "service", "service_name", "ssl_ca", "sslcert"),
    *("sslkey", "sslmode", "sslrootcert", "target_session_attrs", "timeout"),
    *("trusted_connection", "trustservercertificate", "unix_socket", "uri", "warehouse"),
)
# USER:PASSWORD@ as SQLAlchemy finds it, and where a mistyped URL has it.
LOGIN = re.compile(r"(?:(?<!/)//|^)[^:/]*:(?!//)[^@]*@")
FORM = re.compile(
    r"(?P<scheme>[\w+]+)://(?:(?P<user>[^:/?@]*)@)?(?P<host>[\w.,-]*|\[[\w:.%]+\])(?::\d*)?"
    r"(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?"
)
USER = re.compile(r"[\w.@+$~\\-]*")
NAME = re.compile(r"[^;=@:?&]*")  # of a database: a driver would read on after any of these
# Options of PostgreSQL's own that say how to read: their values are not secrets.
OPTIONS = re.compile(r"(-c ?(search_path|statement_timeout|lock_timeout|timezone)=[\w,/\"$]*\s*)+")
FILES = ("sqlite", "duckdb")  # the database is a file, with any path


def refuse_password(url: str | None, setting: str, password: str) -> None:
    """Raises UserError for a URL with a part that is not one of those allowed. What it holds is
    never repeated.

    password: where a password is read from, in words.
    """
    if url and (fault := _fault(url)):
        raise UserError(
            fault,
            where=setting,
            next_step=f"take it out: passwords come from {password}. What may stay is"
            f" SCHEME://USER@HOST:PORT/NAME and the parameters {', '.join(ALLOWED)}",
        )


def from_variable(name: str, setting: str) -> str:
    """Where the password of a database is read from, in words."""
    return f"the environment variable named by {setting} ({name}), or ~/.pgpass"


def may_hold_password(text: str) -> bool:
    """Whether a text, wherever it was written, looks like a URL or like NAME=VALUE."""
    plain = unquote_plus(unquote_plus(text))
    return "://" in plain or "=" in plain or LOGIN.search(plain) is not None


def _fault(url: str) -> str:
    """What is wrong with a URL, without its values; empty if nothing is."""
    if LOGIN.search(url):
        return "the URL holds a password"
    parts = FORM.fullmatch(url)
    if parts is None:
        return "this is not a URL (it is not shown, because it may hold a password)"
    scheme = parts["scheme"].partition("+")[0]
    if not USER.fullmatch(unquote(parts["user"] or "")):
        return "the user in the URL has characters of a password"
    if scheme == "duckdb" and set(";=#?") & set(unquote(parts["name"] or "")):
        return "the name of the database in the URL holds parameters"  # md:x?motherduck_token=y
    if scheme not in FILES and not NAME.fullmatch(unquote(parts["name"] or "")):
        return "the name of the database in the URL has characters of a password"
    for item in re.split("[&;]", parts["query"] or ""):
        name, equals, value = item.partition("=")
        if item and name.lower() not in ALLOWED:
            named = equals and re.fullmatch(r"[A-Za-z_]\w{0,40}", name)
            shown = repr(name) if named else "that is not named"
            return f"the URL has a parameter {shown}, which may hold a password"
        plain = unquote_plus(unquote_plus(value))
        if set(";=@&") & set(plain) and not (
            name.lower() == "options" and OPTIONS.fullmatch(plain)
        ):
            # …&driver=x;PWD=y, …&options=-c my.secret=x, …&uri=user:word@host
            held = "a semicolon, = @ or &, and may hold a password"
            return f"the value of the parameter {name!r} has {held}"
    return ""
