"""Send one event to one receiver: POST it as JSON, POST it to Alertmanager's API, or mail it.

`webhook` and `mails` make the receivers that the settings name; `monitoring/delivery.py` decides
which events each of them gets. A receiver sends one event at a time within a time limit. The reason
of a failure contains neither the URL nor the token nor the password, and not the receiver's own
words, which may repeat them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from http import HTTPStatus
from textwrap import fill
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

from common.errors import UserError
from common.terminal import short, visible
from configs.settings import Alerts
from monitoring.alerts import Event

WEBHOOK, MAIL = "webhook", "mail"
ALERTS_PATH = "/api/v2/alerts"
# Alertmanager ends an alert that is not sent again, unless its end is given.
OPEN_FOR = timedelta(days=3650)
ADDRESS = re.compile(r"[!-~]+")
NOT_IN_ADDRESS = set('<>()[],;:\\"')
WIDTH = 72  # columns of a mail's text


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


# --- webhook --------------------------------------------------------------------------------------


def webhook(alerts: Alerts, environ: Mapping[str, str], dataset: str) -> list[Receiver]:
    """Make the receiver that `alerts.webhook` names. Raises UserError where the environment lacks
    what it needs, or a token would travel unencrypted."""
    named, kind = alerts.webhook_variable, alerts.webhook
    url = _variable(environ, named, f"alerts.webhook {kind}")
    host = _host(url, named)
    token = environ.get(alerts.webhook_token_variable, "").strip()
    if token and not (token.isascii() and token.isprintable()):
        raise UserError(
            f"{alerts.webhook_token_variable} holds characters that a token cannot have",
            where="alerts.webhook_token_variable",
            next_step="set it to the token alone, on one line",
        )
    if token and urlsplit(url).scheme == "http" and not _is_loopback(host):
        raise UserError(
            f"the token of {alerts.webhook_token_variable} would go to {host} unencrypted",
            where=f"alerts.webhook_variable ({named})",
            next_step="use an https:// URL, or unset the token",
        )
    if kind == "alertmanager" and not urlsplit(url).path.endswith(ALERTS_PATH):
        url = url.rstrip("/") + ALERTS_PATH
    content = _for_alertmanager if kind == "alertmanager" else _as_json
    headers = {"Content-Type": "application/json", "User-Agent": "golden-path"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    context = _certificates(environ)

    def send(event: Event, before: Sequence[Event]) -> Failure | None:
        body = json.dumps(content(event, before, dataset), ensure_ascii=False).encode()
        request = headers | {"Idempotency-Key": event.id}
        proxy = not _is_loopback(host)
        return _post(url, request, body, context, alerts.seconds, proxy=proxy)

    return [Receiver(WEBHOOK, host, send)]


def _post(
    url: str,
    headers: dict[str, str],
    body: bytes,
    context: ssl.SSLContext,
    seconds: float,
    *,
    proxy: bool,
) -> Failure | None:
    """POST the body; the body of the response is not read. seconds: for everything together."""
    import httpx

    for name in ("httpx", "httpcore"):  # they would write the URL into the log of the run
        logging.getLogger(name).setLevel(logging.WARNING)

    async def status_code() -> int:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(
                verify=context, trust_env=proxy, timeout=seconds, follow_redirects=False
            ) as client,
            client.stream("POST", url, headers=headers, content=body) as response,
        ):
            return response.status_code

    try:
        with ThreadPoolExecutor(1) as pool:  # the caller's thread may have an event loop
            status = pool.submit(asyncio.run, status_code()).result()
    except (TimeoutError, httpx.TimeoutException):
        return _late(seconds)
    except httpx.RemoteProtocolError:
        return Failure("its answer is not HTTP, or it closed the connection without one", down=True)
    except Exception as error:  # whatever it is, the other receivers get the event
        return Failure(_why(error), down=True)
    if 200 <= status < 300:
        return None
    phrase = next((f" {one.phrase}" for one in HTTPStatus if one == status), "")
    note = ", and redirects are not followed" if 300 <= status < 400 else ""
    return Failure(f"it answered {status}{phrase}{note}", down=False)


def _as_json(event: Event, before: Sequence[Event], dataset: str) -> dict[str, Any]:
    title = _title_of(event, dataset)
    return {"source": "golden-path", "dataset": dataset, "title": title, **asdict(event)}


def _for_alertmanager(event: Event, before: Sequence[Event], dataset: str) -> list[dict[str, Any]]:
    """Write the alerts of Alertmanager. Labels identify an alert, so its end has those of its
    beginning. Without an end it would be
    over after Alertmanager's resolve_timeout."""

    def alert(began: Event, ends: datetime) -> dict[str, Any]:
        return {
            "labels": {
                "alertname": "GoldenPath",
                "dataset": dataset,
                "sensor": event.sensor,
                "first_month": event.first_month,
                "severity": began.severity,
            },
            "annotations": {
                "summary": _title_of(event, dataset),
                "description": event.text,
                "action": event.action,
                "verdict": event.verdict,
                "event": event.id,
            },
            "startsAt": began.time,
            "endsAt": ends.isoformat(),
        }

    firing = [one for one in (*before, event) if one.state == "firing"]
    began = firing[-1] if firing else event
    start, now = datetime.fromisoformat(began.time), datetime.fromisoformat(event.time)
    ends = start + OPEN_FOR if event.state == "firing" else max(start, now)
    # One that was a ticket and is a page has other labels: the ticket is over.
    others = {one.severity: one for one in firing if one.severity != began.severity}
    over = [alert(one, max(now, datetime.fromisoformat(one.time))) for one in others.values()]
    return [*over, alert(began, ends)]


def _host(url: str, named: str) -> str:
    """Read the host of the URL. Raises UserError, whose text does not contain the URL."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UserError(
            f"{named} does not hold the URL of a webhook (it is not shown: it may be a secret)",
            where="alerts.webhook_variable",
            next_step="set it to a whole URL that begins with https:// or http://",
        )
    return host


# --- mail -----------------------------------------------------------------------------------------


def mails(alerts: Alerts, environ: Mapping[str, str], dataset: str) -> list[Receiver]:
    """Make a receiver for each address of `alerts.mail_to`. Raises UserError for one that is not an
    address, for a password that is missing or would travel unencrypted."""
    host, user = str(alerts.smtp_host), alerts.smtp_user
    addresses = list(dict.fromkeys(alerts.mail_to))
    for setting, address in [("mail_from", alerts.mail_from), *(("mail_to", a) for a in addresses)]:
        if not ADDRESS.fullmatch(address) or NOT_IN_ADDRESS & set(address):
            raise UserError(
                f"{short(address)!r} is not a mail address",
                where=f"alerts.{setting}",
                next_step="write it as name@host, in ASCII, without a display name",
            )
    password = None
    if user is not None:
        if alerts.smtp_tls == "none" and not _is_loopback(host):
            raise UserError(
                f"the password of {visible(user)} would go to {visible(host)} unencrypted",
                where="alerts.smtp_tls",
                next_step="set it to starttls or tls",
            )
        password = _variable(environ, alerts.smtp_password_variable, "alerts.smtp_user")
    context = _certificates(environ)

    def to(address: str) -> Receiver:
        def send(event: Event, before: Sequence[Event]) -> Failure | None:
            message = message_of(event, before, dataset, alerts.mail_from, addresses)
            return _mail(alerts, message, address, password, context)

        return Receiver(f"{MAIL}:{address}", host, send)

    return [to(address) for address in addresses]


def message_of(
    event: Event, before: Sequence[Event], dataset: str, sender: str, addresses: Sequence[str]
) -> EmailMessage:
    """Write the mail of an event: the same bytes whenever it is written."""
    from email.policy import SMTP
    from email.utils import format_datetime

    domain = _domain(sender)
    message = EmailMessage(policy=SMTP)
    message["Subject"] = short(_title_of(event, dataset), 200)
    message["From"], message["To"] = sender, ", ".join(addresses)
    message["Date"] = format_datetime(datetime.fromisoformat(event.time))
    message["Message-ID"] = f"<{event.id}@{domain}>"
    if before:  # shown below the beginning of the alert
        message["In-Reply-To"] = f"<{before[0].id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    over = event.state == "resolved"
    rows = {
        "Data set": dataset,
        "Verdict": event.verdict,
        "Since": event.first_month,
        "Last month": event.last_month or "" if over else "",
        "Judged on": event.clock,
        "Event": event.id,
    }
    parts = [fill(visible(event.text), WIDTH)]
    if event.action and not over:
        parts.append("What to do\n" + fill(visible(event.action), WIDTH))
    parts.append("\n".join(f"{name:<12}{visible(text)}" for name, text in rows.items() if text))
    message.set_content("\n\n".join(parts) + "\n")
    return message


def _mail(
    alerts: Alerts,
    message: EmailMessage,
    address: str,
    password: str | None,
    context: ssl.SSLContext,
) -> Failure | None:
    """Hand the mail to the server."""
    import smtplib

    host, seconds, began = str(alerts.smtp_host), alerts.seconds, time.monotonic()
    # smtplib's own way to find this machine's name queries the DNS, and may wait for it.
    domain = _domain(alerts.mail_from)
    smtp: smtplib.SMTP | None = None
    timer = None
    try:
        if alerts.smtp_tls == "tls":
            smtp = smtplib.SMTP_SSL(
                host, alerts.smtp_port, local_hostname=domain, timeout=seconds, context=context
            )
        else:
            smtp = smtplib.SMTP(host, alerts.smtp_port, local_hostname=domain, timeout=seconds)
        # `timeout` is of each wait: a server that sends a byte now and then would hold this process
        # for ever.
        timer = Timer(seconds, _shut, [smtp])
        timer.start()
        if alerts.smtp_tls == "starttls":
            smtp.starttls(context=context)  # fails where it is not offered: nothing is sent then
        if password is not None:
            smtp.login(str(alerts.smtp_user), password)
        smtp.sendmail(alerts.mail_from, [address], message.as_bytes())
        with suppress(Exception):  # the mail was accepted, whatever the response to QUIT
            smtp.quit()
        return None
    except smtplib.SMTPAuthenticationError as error:
        return Failure(f"it refused the login ({error.smtp_code})", down=True)
    except smtplib.SMTPRecipientsRefused as error:
        code = next((code for code, _ in error.recipients.values()), 0)
        return Failure(f"it refused the recipient ({code})", down=False)
    except smtplib.SMTPResponseException as error:  # of the sender, of the content, of HELO
        return Failure(f"it refused the mail ({error.smtp_code})", down=False)
    except smtplib.SMTPNotSupportedError:
        secure = smtp is not None and hasattr(smtp.sock, "cipher")
        lacks = "STARTTLS" if alerts.smtp_tls == "starttls" and not secure else "a way to log in"
        return Failure(f"it does not offer {lacks}", down=True)
    except Exception as error:  # whatever it is, the other receivers get the event
        # smtplib reports a wait that took too long as a closed connection.
        if isinstance(error, TimeoutError) or time.monotonic() - began >= seconds:
            return _late(seconds)
        if isinstance(error, smtplib.SMTPServerDisconnected):
            return Failure("it closed the connection", down=True)
        return Failure(_why(error), down=True)
    finally:
        if timer is not None:
            timer.cancel()
        if smtp is not None:
            with suppress(Exception):
                smtp.close()


def _shut(smtp: Any) -> None:
    with suppress(Exception):
        smtp.sock.shutdown(socket.SHUT_RDWR)


def _domain(address: str) -> str:
    return address.rpartition("@")[2] or "localhost"


# --- for both -------------------------------------------------------------------------------------


def _title_of(event: Event, dataset: str) -> str:
    """Name the event in one line: what, of which data set, since when."""
    if event.state == "resolved":
        return f"[over] {visible(dataset)}: {visible(event.sensor)}, since {event.first_month}"
    severity, sensor = event.severity, visible(event.sensor)
    return f"[{severity}] {visible(dataset)}: {sensor}, since {event.first_month}"


def _variable(environ: Mapping[str, str], name: str, why: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise UserError(
            f"the environment variable {name} is not set",
            where=why,
            next_step=f"set {name}, or take the setting out",
        )
    return value


def _certificates(environ: Mapping[str, str]) -> ssl.SSLContext:
    file = environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file or None)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"the certificates cannot be read: {error}",
            where=f"SSL_CERT_FILE ({file})",
            next_step="set it to a file of certificates in PEM, or unset it",
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _late(seconds: float) -> Failure:
    return Failure(f"it did not answer within {seconds:g} s", down=True)


def _why(error: BaseException) -> str:
    """Describe what ended a connection, in the system's words alone."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {one.verify_message}"
        if isinstance(one, ssl.SSLError):
            return "it does not speak TLS as expected"
        if isinstance(one, socket.gaierror):
            return "its name is not known"
        if isinstance(one, TimeoutError):
            return "it did not answer in time"
        if isinstance(one, OSError) and one.errno:
            return f"no connection: {os.strerror(one.errno)}"
        one = one.__cause__ or one.__context__
    return f"it failed ({type(error).__name__})"
