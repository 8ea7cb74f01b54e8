"""Receivers of alerts that run here: an HTTP server, a mail server, Alertmanager."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, BaseServer, ThreadingTCPServer
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


@dataclass
class Received:
    """What an HTTP server got, oldest first."""

    url: str
    posts: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [headers["idempotency-key"] for _, headers, _ in self.posts]


Answer = Callable[[BaseHTTPRequestHandler, int], None]


def say(status: int, **headers: str) -> Answer:
    """An answer with this status."""

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            request.send_header(name, value)
        request.end_headers()

    return answer


def raw(*parts: bytes, wait: float = 0.0) -> Answer:
    """These bytes instead of an answer in HTTP, and seconds between them."""

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        for part in parts:
            request.wfile.write(part)
            request.wfile.flush()
            time.sleep(wait)

    return answer


@contextmanager
def http_server(
    answer: Answer | None = None, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Received]:
    """answer: what to say to each POST, with its number; None: 200."""
    received = Received("")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                received.posts.append((self.path, headers, json.loads(body)))
                number = len(received.posts)
            try:
                (answer or say(200))(self, number)
            except OSError:  # the sender has gone
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    received.url = f"http://127.0.0.1:{server.server_port}/hook/s3cret-path?key=s3cret-key"
    with serving(server):
        yield received


@contextmanager
def tcp_server(greeting: bytes, line: bytes) -> Iterator[int]:
    """A server that sends a greeting, then the line ten times a second for ever; its port."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(greeting)
            with suppress(OSError):  # the client has gone
                for _ in range(100):
                    self.request.sendall(line)
                    time.sleep(0.1)

    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    with serving(server):
        yield server.server_address[1]


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mailbox:
    port: int = 0
    mails: list[tuple[str, EmailMessage, bytes]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)  # address -> reply
    reply: str = "250 taken"


@contextmanager
def mail_server(
    *, tls: ssl.SSLContext | None = None, implicit: bool = False, login: bool = False
) -> Iterator[Mailbox]:
    """tls: offered as STARTTLS and required, or from the first byte on where it is implicit."""
    box = Mailbox()

    class Handler:
        async def handle_RCPT(self, server, session, envelope, address, options):
            if address in box.refuse:
                return box.refuse[address]
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server, session, envelope):
            content = envelope.content
            for address in envelope.rcpt_tos:
                parsed = message_from_bytes(content, policy=default)
                box.mails.append((address, parsed, content))
            box.encrypted.append(session.ssl is not None or implicit)
            return box.reply

    def authenticate(server, session, envelope, mechanism, data):
        assert isinstance(data, LoginPassword)
        box.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"s3cret-password", handled=False)

    options: dict[str, Any] = {"ssl_context": tls if implicit else None}
    if tls is not None and not implicit:
        options |= {"tls_context": tls, "require_starttls": True}
    if login:
        options |= {"authenticator": authenticate, "auth_require_tls": False}
    controller = Controller(Handler(), hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for `localhost`, and the file of the certificate to trust."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    trusted, secret = folder / "certificate.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted, secret)
    return context, trusted


def installed(*names: str) -> str:
    """The first of these programs that is there; the test is skipped where none is."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed (Debian: apt-get install {names[0]})")
    return found


@contextmanager
def program(*command: str | Path, ready: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server of its own, ended by its id. ready: a URL that answers 200 once it runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=output, start_new_session=True
        )
    try:
        limit = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < limit, log.read_text()
            try:
                if httpx.get(ready, trust_env=False, timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def alertmanager(folder: Path, config: Path | None = None) -> Iterator[str]:
    """A real Alertmanager on loopback; its address."""
    binary = installed("prometheus-alertmanager", "alertmanager")
    folder.mkdir(parents=True, exist_ok=True)
    if config is None:
        config = folder / "alertmanager.yml"
        receivers = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
        config.write_text(f"global: {{resolve_timeout: 1s}}\n{receivers}")
    port = free_port()
    with program(
        binary,
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        ready=f"http://127.0.0.1:{port}/-/ready",
        log=folder / "log",
    ):
        yield f"http://127.0.0.1:{port}"
