"""Who may ask, by which name, from which page; and what nobody is told."""

from __future__ import annotations

import json
import socket

import pytest
from real_service import BUYER, ROW, Running, bought, customers, read_answer, started

from common.errors import UserError
from configs.load import load
from serving.__main__ import served_of
from serving.access import LOOPBACK, Access, is_loopback, read_token
from serving.errors import Refused
from serving.launcher import check_address
from tests.commands import free_port

pytestmark = pytest.mark.slow

TOKEN = "correct-horse-battery-staple"
OPEN = ("/livez", "/readyz", "/healthz", "/", "/docs", "/page/page.js", "/page/page.css")
CLOSED = ("/model", "/samples", "/docs.json", "/schema.json", "/metrics")
BODY = json.dumps(customers(ROW))
POSTS = {"/predict": BODY, "/explain": BODY, "/predict_transactions": json.dumps(bought(BUYER))}
POSTS |= {"/reload": "{}"}


def get(running: Running, path: str, *headers: str, method: str = "GET") -> int:
    """The status, of a request as these bytes."""
    lines = [f"{method} {path} HTTP/1.1", "connection: close", *headers, "", ""]
    with running.connected("\r\n".join(lines).encode("latin-1")) as connection:
        return read_answer(connection)[0]


# --- the token -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Bound to every address of this machine, with a token from a file, in a home of its own."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "secret").mkdir()
    (folder / "home").mkdir()
    token = folder / "secret" / "token"
    token.write_text(f"{TOKEN}\n")
    options = ["--serving.host", "0.0.0.0", "--serving.token_file", str(token)]
    with started(folder, *options, HOME=str(folder / "home")) as running:
        yield running


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN),
        *(f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN}ÿ", "Bearer " + "x" * 20_000),
    ],
)
def test_without_the_token_nothing_is_answered(guarded, header):
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    with guarded.client(headers=headers) as client:
        answers = [client.get(path) for path in CLOSED]
        answers += [client.post(path, content=body) for path, body in POSTS.items()]
    for one in answers:
        assert (one.status_code, one.json()["code"]) == (401, "unauthorized")
        assert one.headers["www-authenticate"] == "Bearer"
        assert one.json()["detail"] == []
        assert TOKEN not in one.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_token_every_path_is_answered(guarded, scheme):
    with guarded.client(headers={"authorization": f"{scheme} {TOKEN}"}) as client:
        answers = [client.get(path) for path in CLOSED]
        answers += [client.post(path, content=body) for path, body in POSTS.items()]
    assert {one.status_code for one in answers} == {200}
    assert not [one for one in answers if TOKEN in one.text]


def test_health_and_the_files_of_the_page_are_open(guarded):
    assert {guarded.get(path).status_code for path in OPEN} == {200}


def test_a_token_given_twice_is_refused(guarded):
    both = [f"authorization: Bearer {word}" for word in (TOKEN, "something-else-of-length")]
    for headers in (both, both[::-1]):
        assert get(guarded, "/model", "host: localhost", *headers) == 400


def test_with_a_token_any_host_name_is_accepted_but_no_foreign_origin(guarded):
    sent = ("host: shop.example", f"authorization: Bearer {TOKEN}")
    assert get(guarded, "/model", *sent) == 200
    assert get(guarded, "/model", *sent, "origin: http://evil") == 403
    assert get(guarded, "/model", *sent, "origin: https://shop.example") == 200


def test_the_token_is_written_nowhere(guarded):
    assert TOKEN not in guarded.log.read_text()
    written = [file for file in guarded.var.rglob("*") if file.is_file()]
    assert any(file.name == "served.json" for file in written)
    assert not [file for file in written if TOKEN.encode() in file.read_bytes()]
    for process in (guarded.launcher, guarded.arbiter, *guarded.workers):
        assert TOKEN not in " ".join(process.cmdline())
        assert TOKEN not in " ".join(process.environ().values())  # it is in the file alone


def test_only_one_port_is_open_and_nothing_is_written_elsewhere(guarded):
    """BentoML's arbiter would take commands at two more, from whoever is on this machine."""
    for process in (guarded.arbiter, *guarded.workers):
        for one in process.net_connections("inet"):
            assert one.laddr.port == guarded.port and one.type == socket.SOCK_STREAM
        assert not [one for one in process.net_connections("unix") if one.laddr]
    home = guarded.var.parent / "home"
    assert not [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "ä" * 20, "with\nanother-line-in-it", "\x00" * 20]
)
def test_an_unusable_token_is_refused_without_being_shown(tmp_path, token):
    file = tmp_path / "token"
    file.write_text(token)
    for place, env in ((file, {}), (None, {"SERVING_TOKEN": token})):
        with pytest.raises(UserError) as refused:
            read_token("SERVING_TOKEN", place, env)
        assert "at least 16 characters" in refused.value.what
        assert token not in str(refused.value)


def test_a_token_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 20)
    (tmp_path / "empty").write_text("\n")
    for name in ("missing", "", "binary", "empty"):
        with pytest.raises(UserError) as refused:
            read_token("SERVING_TOKEN", tmp_path / name, {"SERVING_TOKEN": TOKEN})
        assert str(tmp_path / name) in str(refused.value)
    assert read_token("SERVING_TOKEN", None, {}) is None
    assert read_token("SERVING_TOKEN", None, {"SERVING_TOKEN": TOKEN}) == TOKEN


# --- addresses and names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "why"),
    [
        *(
            (host, "requires a token")
            for host in ("0.0.0.0", "::", "192.0.2.7", "::ffff:192.0.2.7")
        ),
        *((host, "must listen at an IP address") for host in ("example.com", "")),
    ],
)
def test_beyond_loopback_the_launcher_requires_a_token(host, why):
    with pytest.raises(UserError, match=why) as caught:
        check_address(host, free_port(), with_token=False)
    assert repr(host) in caught.value.what and "127.0.0.1" in caught.value.next_step


def test_a_service_started_without_the_launcher_requires_a_token_too():
    """`bentoml serve` asks no launcher: then each request is judged by where it arrived."""
    guard, local = Access(None, LOOPBACK, restricted=True), {b"host": b"localhost"}
    guard.check({"server": ("127.0.0.1", 3000)}, local, open_to_all=False)
    for server in ("192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"):
        assert not is_loopback(server)
        for path_is_open in (True, False):
            with pytest.raises(Refused, match="requires a token"):
                guard.check({"server": (server, 3000)}, local, open_to_all=path_is_open)
    for server in ("127.0.0.9", "::1", "::ffff:127.0.0.1", "/tmp/a-socket-file"):
        assert is_loopback(server)


def test_the_allowed_host_names_follow_from_the_settings():
    def names(*options: str) -> list[str]:
        return sorted(served_of(load("smoke", list(options)), "m").allowed_hosts)

    some = ("--serving.allowed_hosts", '["shop.example"]')
    assert names() == ["127.0.0.1"]
    assert names("--serving.host", "0.0.0.0") == []  # with a token: any name
    assert names(*some) == ["127.0.0.1", "shop.example"]
    assert "shop.example" in Access.of("NO_SUCH_VARIABLE", None, ["Shop.Example"]).names
    # The address it is bound to stays a name when others are allowed.
    assert names("--serving.host", "192.0.2.7", *some) == ["192.0.2.7", "shop.example"]


OURS = ("127.0.0.1:{}", "localhost:{}", "LOCALHOST", "[::1]:{}", "[::1]", "127.0.0.1")
OTHERS = (
    *("evil.example:{}", "localhost.evil.example", "127.0.0.1.evil.example:{}", "0.0.0.0"),
    *("localhost@evil.example", "localhost.", "2130706433", "[::ffff:7f00:1]", "", ":{}"),
    *("localhost:{}:{}", "localhost, evil", None),
)


@pytest.mark.parametrize(
    ("host", "status"), [*((name, 200) for name in OURS), *((name, 403) for name in OTHERS)]
)
def test_only_host_names_of_this_machine_are_accepted(running, host, status):
    """A page of evil.example, whose name now leads here, still asks for evil.example."""
    headers = [] if host is None else ["host: " + host.replace("{}", str(running.port))]
    for path in CLOSED:
        assert get(running, path, *headers) == status
    assert get(running, "/livez", *headers) == 200
    assert get(running, "/model", "host: localhost", *headers) == 400 or host is None


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *((origin, 200) for origin in ("http://{}", "https://{}")),
        *((origin, 403) for origin in ("http://evil.example", "null", "", "{}", "file://")),
        *((origin, 403) for origin in ("http://localhost:1", "http://{}.evil.example")),
        ("http://evil.example/{}", 403),
    ],
)
def test_pages_of_other_sites_are_refused(running, origin, status):
    host = f"127.0.0.1:{running.port}"
    with running.client(headers={"origin": origin.replace("{}", host)}) as client:
        answers = [client.get(path) for path in (*CLOSED, *OPEN)]
        answers += [client.post(path, content=body) for path, body in POSTS.items()]
        # A browser asks by OPTIONS whether another site's page may send JSON, or a token.
        asks = {"access-control-request-method": "POST"}
        asked = [client.options(path, headers=asks) for path in (*POSTS, *CLOSED, *OPEN)]
    assert {one.status_code for one in answers} == {status}
    assert {one.status_code for one in asked} == {405 if status == 200 else 403}
    assert not [
        x for one in (*answers, *asked) for x in one.headers if x.startswith("access-control")
    ]


# --- what there is, and what there is not --------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/predict/submit", "/openapi.json", "/static_content/", "/page/", "/page/../app.py"),
        *("/static_content/%2e%2e/%2e%2e/context.py", "/page/..%2fapp.py", "/page/....//app.py"),
        *("/page/page.js/../../app.py", "/page/%5c..%5capp.py", "//metrics", "/metrics/", "/%00"),
        *("/../../etc/passwd", "/served.json", "/rpc"),
    ],
)
def test_any_other_path_is_not_found(running, path):
    for method in ("GET", "POST"):
        request = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        with running.connected(request.encode()) as one:
            status, headers, body = read_answer(one)
        assert (status, json.loads(body)["code"]) == (404, "not_found")
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", [*CLOSED, *OPEN, *POSTS])
def test_a_path_is_for_get_and_head_or_for_post_alone(running, path):
    host, override = "host: localhost", "x-http-method-override: POST"
    for method in {"GET", "HEAD", "POST"} - ({"POST"} if path in POSTS else {"GET", "HEAD"}):
        assert get(running, path, host, method=method) == 405
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        assert get(running, path, host, override, method=method) == 405
    if path not in POSTS:
        full, head = running.get(path), running.request("HEAD", path)
        assert (head.status_code, full.status_code, head.content) == (200, 200, b"")
        assert full.headers.keys() == head.headers.keys()


@pytest.mark.parametrize("kind", ["application/vnd.bentoml+pickle", "application/octet-stream"])
def test_nothing_is_unpickled(client, kind, tmp_path):
    written = tmp_path / "by-the-pickle"
    pickle = f"cbuiltins\nopen\n(V{written}\nVw\ntR.".encode()
    for path in POSTS.keys() - {"/reload"}:
        answer = client.post(path, content=pickle, headers={"content-type": kind})
        assert answer.status_code == 415
    assert not written.exists()


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.js", "/page/page.css"])
def test_pages_load_nothing_from_elsewhere(client, path):
    headers = client.get(path).headers
    policy = dict(one.split(maxsplit=1) for one in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    assert ("unsafe-inline" in policy["style-src"]) == (path == "/docs")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers
