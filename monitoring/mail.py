"""Send an event by mail."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from textwrap import fill
from threading import Timer
from typing import Any

from common.errors import UserError
from common.terminal import short, visible
from configs.settings import Alerts
from monitoring.events import Event
from monitoring.receivers import (
    Failure,
    Receiver,
    certificates,
    is_loopback,
    late,
    reason_of,
    title_of,
    variable,
)

MAIL = "mail"
ADDRESS = re.compile(r"[!-~]+")
NOT_IN_ADDRESS = set('<>()[],;:\\"')
WIDTH = 72  # columns of a mail's text


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
        if alerts.smtp_tls == "none" and not is_loopback(host):
            raise UserError(
                f"the password of {visible(user)} would go to {visible(host)} unencrypted",
                where="alerts.smtp_tls",
                next_step="set it to starttls or tls",
            )
        password = variable(environ, alerts.smtp_password_variable, "alerts.smtp_user")
    context = certificates(environ)

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
    message["Subject"] = short(title_of(event, dataset), 200)
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
            return late(seconds)
        if isinstance(error, smtplib.SMTPServerDisconnected):
            return Failure("it closed the connection", down=True)
        return Failure(reason_of(error), down=True)
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
