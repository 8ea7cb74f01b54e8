"""What receivers of alerts have in common: `monitoring/webhook.py` and `monitoring/mail.py`.

A receiver sends one event at a time within a time limit. The reason of a failure contains neither
the URL nor the token nor the password, and not the receiver's own words, which may repeat them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from common.errors import UserError
from common.terminal import visible
from monitoring.events import Event


@dataclass(frozen=True)
class Failure:
    """Why an event was not taken. down: no other event would get through now either."""

    reason: str
    down: bool


@dataclass(frozen=True)
class Receiver:
    """name: as in `deliveries.jsonl`.  send: an event and those of the same alert before it;
    returns None when it was taken."""

    name: str
    host: str
    send: Callable[[Event, Sequence[Event]], Failure | None] = field(repr=False)


def title_of(event: Event, dataset: str) -> str:
    """Name the event in one line: what, of which data set, since when."""
    if event.state == "resolved":
        return f"[over] {visible(dataset)}: {visible(event.sensor)}, since {event.first_month}"
    severity, sensor = event.severity, visible(event.sensor)
    return f"[{severity}] {visible(dataset)}: {sensor}, since {event.first_month}"


def variable(environ: Mapping[str, str], name: str, where: str) -> str:
    """Read a variable of the environment. Raises UserError where it is not set."""
    value = environ.get(name, "").strip()
    if not value:
        raise UserError(
            f"the environment variable {name} is not set",
            where=where,
            next_step=f"set {name}, or take the setting out",
        )
    return value


def certificates(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Read the certificates to trust. Raises UserError for SSL_CERT_FILE that cannot be read."""
    file = environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file or None)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"the certificates cannot be read: {error}",
            where=f"SSL_CERT_FILE ({file})",
            next_step="set it to a file of certificates in PEM, or unset it",
        ) from None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def late(seconds: float) -> Failure:
    return Failure(f"it did not answer within {seconds:g} s", down=True)


def reason_of(error: BaseException) -> str:
    """Describe what ended a connection, in the system's words alone."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "it does not speak TLS as expected"
        if isinstance(cause, socket.gaierror):
            return "its name is not known"
        if isinstance(cause, TimeoutError):
            return "it did not answer in time"
        if isinstance(cause, OSError) and cause.errno:
            return f"no connection: {os.strerror(cause.errno)}"
        cause = cause.__cause__ or cause.__context__
    return f"it failed ({type(error).__name__})"
