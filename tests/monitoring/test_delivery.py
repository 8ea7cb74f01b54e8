"""Alerts arrive once at each receiver, whatever the receiver or this process comes to."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from receive import (
    Received,
    alertmanager,
    certificate,
    free_port,
    http_server,
    mail_server,
    raw,
    say,
    tcp_server,
)

from common.errors import UserError
from configs.settings import Alerts
from monitoring.alerts import events_of, raise_alert, update
from monitoring.delivery import Delivery, check_receivers, count_queued, deliver
from monitoring.facts import Reading, Verdict

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ("s3cret", "Bearer")
WEBHOOK = Alerts(webhook="json", seconds=5.0)


def judge(folder: Path, month: str, state: str) -> None:
    name = "broken data" if state == "alarm" else "calendar"
    text = "Prices are 10 % above what the same products cost before."
    action = "Hold the batch, and ask who made the export."
    verdict = Verdict(month, name, action, month, (), 3)
    update(folder, month, [Reading("price", month, state, text=text)], verdict)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a data set with an alert that is over and one that is open: three events."""
    folder = tmp_path / "monitoring" / "shop-1"
    for month, state in (("2026-05", "alarm"), ("2026-06", "ok"), ("2026-07", "alarm")):
        judge(folder, month, state)
    return folder


@pytest.fixture(autouse=True)
def no_secrets(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Nothing that a test sends its alerts with stands in a log or in a file."""
    caplog.set_level(logging.DEBUG)
    yield
    for secret in SECRETS:
        assert secret not in caplog.text
        for file in tmp_path.rglob("*"):
            if file.is_file() and file.suffix != ".pem":
                assert secret.encode() not in file.read_bytes(), file


def mail(port: int, *to: str, host: str = "127.0.0.1", **others: object) -> Alerts:
    server = {"smtp_host": host, "smtp_port": port, "mail_to": to or ("ops@example.com",)}
    return Alerts.model_validate({"seconds": 5.0} | server | others)


def post(folder: Path, received: Received, settings: Alerts = WEBHOOK) -> Delivery:
    return deliver(folder, settings, {"ALERTS_WEBHOOK_URL": received.url})


# --- webhook ------------------------------------------------------------------------------------


def test_each_event_is_posted_once_and_in_order(folder: Path) -> None:
    nobody = deliver(folder, Alerts(), {})
    assert (nobody.sent, nobody.queued, count_queued(folder)) == ((), (), 0)
    with http_server() as received:  # a receiver that is named later gets what is open
        assert [one.event.first_month for one in post(folder, received).sent] == ["2026-07"]
    (folder / "deliveries.jsonl").unlink()
    with http_server() as received:
        environ = {"ALERTS_WEBHOOK_URL": received.url, "ALERTS_WEBHOOK_TOKEN": "s3cret-token\n"}
        first = deliver(folder, WEBHOOK, environ)
        again = deliver(folder, WEBHOOK, environ)
        judge(folder, "2026-08", "ok")
        assert count_queued(folder) == 1
        last = deliver(folder, WEBHOOK, environ)
    assert [len(one.sent) for one in (first, again, last)] == [3, 0, 1]
    assert not first.queued and count_queued(folder) == 0
    first.check(folder)
    assert received.ids == [event.id for event in events_of(folder)]
    path, headers, body = received.posts[0]
    assert path == "/hook/s3cret-path?key=s3cret-key"
    assert headers["authorization"] == "Bearer s3cret-token"
    assert body["dataset"] == "shop-1" and body["sensor"] == "price" and body["state"] == "firing"
    assert body["title"] == "[page] shop-1: price, since 2026-05"
    assert {one["title"][:6] for _, _, one in received.posts[1::2]} == {"[over]"}


def test_a_failed_delivery_is_queued_with_its_reason_and_sent_first_the_next_time(
    folder: Path,
) -> None:
    port = free_port()
    environ = {"ALERTS_WEBHOOK_URL": f"http://127.0.0.1:{port}/s3cret"}
    failed = deliver(folder, WEBHOOK, environ)
    assert failed.sent == () and len(failed.queued) == 3 == count_queued(folder)
    assert {one.reason for one in failed.queued} == {"no connection: Connection refused"}
    with pytest.raises(UserError) as caught:
        failed.check(folder)
    assert "3 alerts are queued" in str(caught.value) and "127.0.0.1: no conn" in str(caught.value)
    judge(folder, "2026-08", "ok")
    with http_server(port=port) as received:
        assert len(deliver(folder, WEBHOOK, environ).sent) == 4
    assert received.ids == [event.id for event in events_of(folder)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (say(500), "it answered 500 Internal Server Error"),
        (say(302, Location="/elsewhere"), "it answered 302 Found, and redirects are not followed"),
        (say(599), "it answered 599"),
        (raw(b"220 mail.example.com ESMTP\r\n"), "its answer is not HTTP"),
        (raw(b"\0" * 100_000), "its answer is not HTTP"),
        (raw(b""), "its answer is not HTTP, or it closed the connection without one"),
    ],
)
def test_an_answer_other_than_success_queues_the_event(folder: Path, answer, reason: str) -> None:
    with http_server(answer) as received:
        delivery = post(folder, received)
    assert delivery.sent == () and len(delivery.queued) == 3
    assert delivery.queued[0].reason.startswith(reason)
    assert delivery.queued[0].host == "127.0.0.1"
    assert {path for path, _, _ in received.posts} == {"/hook/s3cret-path?key=s3cret-key"}


def test_an_event_that_is_refused_does_not_hold_up_those_of_other_alerts(folder: Path) -> None:
    with http_server(lambda request, n: say(400 if n == 1 else 200)(request, n)) as received:
        environ = {"ALERTS_WEBHOOK_URL": received.url}
        delivery = deliver(folder, WEBHOOK, environ)
        # The end of an alert is not sent before its beginning.
        assert [one.event.state for one in delivery.queued] == ["firing", "resolved"]
        assert delivery.queued[1].reason == "an earlier event of the same alert is queued"
        assert [one.event.first_month for one in delivery.sent] == ["2026-07"]
        assert len(deliver(folder, WEBHOOK, environ).sent) == 2
    ids = [event.id for event in events_of(folder)]
    assert received.ids == [ids[0], ids[2], ids[0], ids[1]]


@pytest.mark.slow
def test_a_slow_receiver_costs_the_time_limit_once_and_an_endless_answer_is_not_read(
    folder: Path,
) -> None:
    def endless(request, _):
        say(200, **{"Content-Length": str(10**12)})(request, _)
        for _ in range(10_000):
            request.wfile.write(b"x" * 65536)

    drops = raw(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 30, wait=0.1)  # a byte now and then
    for slow in (lambda request, _: time.sleep(3), drops):
        began = time.monotonic()
        with http_server(slow) as received:
            delivery = post(folder, received, Alerts(webhook="json", seconds=0.5))
            seconds = time.monotonic() - began
        assert {one.reason for one in delivery.queued} == {"it did not answer within 0.5 s"}
        assert len(received.posts) == 1 and len(delivery.queued) == 3
        assert seconds < 3, "the other events were not tried"
    with http_server(endless) as received:
        assert len(post(folder, received).sent) == 3


URL, TOKEN = "ALERTS_WEBHOOK_URL", "ALERTS_WEBHOOK_TOKEN"
NOT_URLS = ("s3cret", "ftp://s3cret/", "https://[s3cret", "https://a:s3cret/", "http://a/\ns3cret")


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({URL: " "}, f"the environment variable {URL} is not set"),
        *(({URL: url}, f"{URL} does not hold the URL") for url in NOT_URLS),
        ({URL: "http://a/", TOKEN: "s3cret\r\nX: y"}, f"{TOKEN} holds characters"),
        (
            {URL: "http://example.com/s3cret", TOKEN: "s3cret"},
            f"the token of {TOKEN} would go to example.com unencrypted",
        ),
        ({URL: "https://a/s3cret", "SSL_CERT_FILE": "/nowhere"}, "the certificates cannot be read"),
    ],
)
def test_a_wrong_environment_variable_is_named_without_its_value(
    folder: Path, environ: dict[str, str], text: str
) -> None:
    for use in (check_receivers, partial(deliver, folder)):
        with pytest.raises(UserError) as caught:
            use(WEBHOOK, environ)
        assert text in caught.value.what and caught.value.next_step
        assert "s3cret" not in str(caught.value)
    assert count_queued(folder) == 3


@pytest.mark.slow
def test_https_needs_a_certificate_that_is_trusted(folder: Path, tmp_path: Path) -> None:
    context, trusted = certificate(tmp_path)
    with http_server(tls=context) as received:
        url = received.url.replace("http:", "https:")
        environ = {"ALERTS_WEBHOOK_URL": url.replace("127.0.0.1", "localhost")}
        refused = deliver(folder, WEBHOOK, environ)
        assert "its certificate is not accepted" in refused.queued[0].reason
        environ["SSL_CERT_FILE"] = str(trusted)
        assert len(deliver(folder, WEBHOOK, environ).sent) == 3
        raise_alert(folder, "2026-08", "batch", "Held.", "make accept-batch")
        other = deliver(folder, WEBHOOK, environ | {"ALERTS_WEBHOOK_URL": url})
        assert "not accepted" in other.queued[0].reason, "it is of another host"


DELIVER = """
import os, sys
from pathlib import Path
from configs.settings import Alerts
from monitoring.delivery import deliver
deliver(Path(sys.argv[1]), Alerts(webhook="json", seconds=20.0), os.environ)
"""


@pytest.mark.slow
def test_after_a_kill_every_event_arrives_and_only_the_last_may_arrive_twice(
    folder: Path,
) -> None:
    def slow(request, number):
        time.sleep(0.3)
        say(200)(request, number)

    for number in range(1, 4):
        judge(folder, f"2027-{number:02}", "alarm" if number % 2 else "ok")
    ids = [event.id for event in events_of(folder)]
    assert len(ids) == 5
    command = [sys.executable, "-c", DELIVER, str(folder)]
    with http_server(slow) as received:
        environ = os.environ | {"ALERTS_WEBHOOK_URL": received.url}
        for kill_at in (1, 3):
            process = subprocess.Popen(command, cwd=ROOT, env=environ)
            while len(received.posts) < kill_at and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(command, cwd=ROOT, env=environ, check=True)
    assert list(dict.fromkeys(received.ids)) == ids, "all of them, in their order"
    assert len(received.ids) <= len(ids) + 2, "one for each time that it was killed"
    assert count_queued(folder) == 0


def test_an_altered_receipt_is_not_trusted_and_the_event_has_the_same_id(folder: Path) -> None:
    with http_server() as received:
        post(folder, received)
        file = folder / "deliveries.jsonl"
        file.write_bytes(file.read_bytes()[:-10])
        assert len(post(folder, received).sent) == 1
    ids = [event.id for event in events_of(folder)]
    assert received.ids == [*ids, ids[2]]


# --- Alertmanager -------------------------------------------------------------------------------


@pytest.mark.slow
def test_alertmanager_shows_an_alert_until_its_end(folder: Path, tmp_path: Path) -> None:
    with alertmanager(tmp_path / "alertmanager") as url:
        settings = Alerts(webhook="alertmanager", seconds=10.0)
        environ = {"ALERTS_WEBHOOK_URL": f"{url}/"}
        assert len(deliver(folder, settings, environ).sent) == 3

        def known(count: int) -> list[dict]:
            """The alerts once they are so many."""
            limit = time.monotonic() + 20
            while len(found := query()) != count and time.monotonic() < limit:
                time.sleep(0.1)
            return found

        def query() -> list[dict]:
            return httpx.get(f"{url}/api/v2/alerts", trust_env=False).json()

        time.sleep(1.5)  # beyond its resolve_timeout: an alert that is open stays so
        (alert,) = known(1)  # the one that is over is not shown any more
        assert alert["labels"] == {
            "alertname": "GoldenPath",
            "dataset": "shop-1",
            "sensor": "price",
            "first_month": "2026-07",
            "severity": "page",
        }
        firing = events_of(folder)[2]
        assert alert["annotations"]["event"] == firing.id
        assert alert["annotations"]["action"] == firing.action
        assert datetime.fromisoformat(alert["startsAt"]) == datetime.fromisoformat(firing.time)
        # Sent again, as after a kill: it is the same alert.
        (folder / "deliveries.jsonl").unlink()
        assert len(deliver(folder, settings, environ).sent) == 3
        assert len(query()) == 1
        judge(folder, "2026-08", "ok")
        assert len(deliver(folder, settings, environ).sent) == 1
        assert known(0) == []
        raise_alert(folder, "2026-09", "operate", "It failed.", "make operate", severity="ticket")
        deliver(folder, settings, environ)
        (ticket,) = known(1)
        assert ticket["labels"]["severity"] == "ticket"
        raise_alert(folder, "2026-09", "operate", "It failed.", "make operate", severity="page")
        deliver(folder, settings, environ)
        (page,) = known(1)
        assert page["labels"]["severity"] == "page", "and the ticket is over"


# --- mail ---------------------------------------------------------------------------------------


def test_a_mail_holds_the_event_and_replies_to_the_first_of_its_alert(folder: Path) -> None:
    with mail_server() as box:
        deliver(folder, mail(box.port, "ops@example.com", "ml@example.com"), {})
    assert [address for address, _, _ in box.mails] == ["ops@example.com"] * 3 + [
        "ml@example.com"
    ] * 3
    firing, over, _ = [one for _, one, _ in box.mails][:3]
    events = events_of(folder)
    assert firing["Message-ID"] == f"<{events[0].id}@localhost>"
    assert over["In-Reply-To"] == firing["Message-ID"]
    assert firing["Subject"] == "[page] shop-1: price, since 2026-05"
    assert firing["To"] == "ops@example.com, ml@example.com"
    assert firing["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(firing["Date"]) <= datetime.now(UTC)
    assert firing.get_content_type() == "text/plain"
    for words in (events[0].text, events[0].action, "broken data", "2026-05", events[0].id):
        assert words in firing.get_content()
    assert over.get_content().startswith(events[1].text)


def test_a_mail_that_one_recipient_refused_is_not_sent_to_the_others_again(folder: Path) -> None:
    with mail_server() as box:
        box.refuse["left@example.com"] = "550 no such user s3cret"
        settings = mail(box.port, "ops@example.com", "left@example.com")
        delivery = deliver(folder, settings, {})
        assert len(delivery.sent) == 3 and len(delivery.queued) == 3
        assert delivery.queued[0].reason == "it refused the recipient (550)"
        box.refuse.clear()
        assert len(deliver(folder, settings, {}).sent) == 3
    assert [address for address, _, _ in box.mails].count("ops@example.com") == 3


def test_a_receiver_that_fails_does_not_hold_up_the_others(folder: Path) -> None:
    with http_server() as received:
        delivery = post(folder, received, mail(free_port(), webhook="json"))
    assert len(delivery.sent) == 3 and len(delivery.queued) == 3
    assert delivery.queued[0].reason == "no connection: Connection refused"
    with mail_server() as box:
        with pytest.raises(UserError, match="ALERTS_WEBHOOK_URL is not set"):
            deliver(folder, mail(box.port, webhook="json"), {})
        assert len(box.mails) == 3


@pytest.mark.slow
@pytest.mark.parametrize("greeting", [b"", b"220 here\r\n"])
def test_a_slow_mail_server_costs_the_time_limit(folder: Path, greeting: bytes) -> None:
    with tcp_server(greeting, b"250-" if greeting else b"") as port:
        began = time.monotonic()
        delivery = deliver(folder, mail(port, seconds=0.5), {})
        assert time.monotonic() - began < 3
    assert {one.reason for one in delivery.queued} == {"it did not answer within 0.5 s"}


@pytest.mark.slow
@pytest.mark.parametrize("implicit", [False, True])
def test_a_password_goes_over_tls_to_a_server_with_a_trusted_certificate(
    folder: Path, tmp_path: Path, implicit: bool
) -> None:
    context, trusted = certificate(tmp_path)
    with mail_server(tls=context, implicit=implicit, login=True) as box:
        tls = "tls" if implicit else "starttls"
        settings = mail(box.port, host="localhost", smtp_tls=tls, smtp_user="shop")
        environ = {"ALERTS_SMTP_PASSWORD": "s3cret-password"}
        delivery = deliver(folder, settings, environ)
        assert "its certificate is not accepted" in delivery.queued[0].reason
        assert box.logins == [] and box.mails == []
        environ["SSL_CERT_FILE"] = str(trusted)
        wrong = {**environ, "ALERTS_SMTP_PASSWORD": "s3cret-and-wrong"}
        assert deliver(folder, settings, wrong).queued[0].reason == "it refused the login (535)"
        assert len(deliver(folder, settings, environ).sent) == 3
        assert box.encrypted == [True] * 3 and box.logins[-1] == ("shop", "s3cret-password")
        with pytest.raises(UserError, match="ALERTS_SMTP_PASSWORD is not set"):
            deliver(folder, settings, {})


@pytest.mark.parametrize(
    ("reply", "tls", "reason"),
    [
        ("554 this is spam, s3cret", "none", "it refused the mail (554)"),
        ("250 taken", "starttls", "it does not offer STARTTLS"),
    ],
)
def test_a_mail_that_is_refused_or_would_go_unencrypted_is_queued(folder, reply, tls, reason):
    with mail_server() as box:
        box.reply = reply
        delivery = deliver(folder, mail(box.port, smtp_tls=tls), {})
        assert delivery.queued[0].reason == reason
        assert delivery.sent == () and (box.mails == [] or reply.startswith("554"))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mail_to": ("a@b\r\nBcc: c@d",)}, "is not a mail address"),
        ({"mail_to": ("a@b>\r\nRCPT TO:<c@d",)}, "is not a mail address"),
        ({"mail_to": ("Shop <a@b>",)}, "is not a mail address"),
        ({"mail_from": "a@b\nSubject: x"}, "is not a mail address"),
        ({"smtp_user": "shop"}, "the password of shop would go to mail.example.com unencrypted"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(folder: Path, settings: dict, text: str) -> None:
    mails = {"smtp_host": "mail.example.com", "mail_to": ("ops@example.com",)} | settings
    with pytest.raises(UserError, match=text) as caught:
        deliver(folder, Alerts.model_validate(mails), {"ALERTS_SMTP_PASSWORD": "s3cret"})
    assert caught.value.where.startswith("alerts.")
    for alone in ("smtp_host", "mail_to"):
        with pytest.raises(ValidationError, match="go together"):
            Alerts.model_validate({alone: mails[alone]})


def test_no_text_adds_a_header_or_a_mail(tmp_path: Path) -> None:
    folder = tmp_path / "monitoring" / "shop\r\nBcc: x@y"
    text = "held\r\n.\r\nMAIL FROM:<x@y>\r\n\r\nBcc: x@y"
    raise_alert(folder, "2026-07", "batch\nBcc: x@y", text, "a\r\n.\r\nb")
    with mail_server() as box:
        deliver(folder, mail(box.port), {})
    ((address, got, content),) = box.mails
    assert address == "ops@example.com" and got["Bcc"] is None and "\n" not in got["Subject"]
    assert b"\r\nBcc" not in content and b"\r\n.\r\n" not in content


def test_two_deliveries_at_once_send_each_event_once(folder: Path) -> None:
    with (
        http_server(lambda request, n: (time.sleep(0.02), say(200)(request, n))) as received,
        ThreadPoolExecutor(3) as pool,
    ):
        list(pool.map(lambda _: post(folder, received), range(3)))
    assert received.ids == [event.id for event in events_of(folder)]
    assert all(json.loads(line) for line in (folder / "deliveries.jsonl").read_text().splitlines())
