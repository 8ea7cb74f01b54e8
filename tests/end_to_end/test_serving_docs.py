"""What docs/serving.md shows is what the service says: every example is sent, every table held
against the code.

`...` in an answer of the page stands for anything; in a request for the other values
of the first customer, or line, of the page. A number with three decimals is the model's: it may
differ by NEAR from machine to machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

import serving
from common.customer_hash import hashed, read_key
from configs.load import load
from configs.settings import Serving
from serving import metrics
from serving.__main__ import _welcome
from serving.endpoints import ROUTES
from serving.errors import RETRY_AFTER, STATUS
from tests.commands import free_port

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
URL, NEAR = "http://127.0.0.1:3000", 0.2
OPEN, REST = {"[": "]", "{": "}"}, "..."


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def parsed(text: str) -> Any:
    """JSON in which `...` may stand where an entry or a value would."""
    inside: list[str] = []

    def word(found: re.Match[str]) -> str:
        token = found[0]
        if token in OPEN:
            inside.append(token)
        elif token in OPEN.values():
            inside.pop()
        elif token == REST:
            return f'"{REST}": 0' if inside[-1] == "{" else f'"{REST}"'
        return token

    tokens = r'"(?:[^"\\]|\\.)*"|[\[\]{}]|\.\.\.'
    return json.loads(re.sub(tokens, word, text), parse_float=Decimal)


def glob(said: str) -> str:
    """A pattern for a text with `...`, wherever its lines are broken and its columns begin."""
    pattern = re.escape(" ".join(said.split())).replace(re.escape(REST), ".*")
    return re.sub(r"0\\\.\d{3}\\ (contact|leave)", r"0\\.\\d{3}\\ (contact|leave)", pattern)


def compare(said: Any, got: Any, where: str = "answer") -> None:
    """Raises AssertionError unless `got` is what the page says."""
    if said == REST:
        return
    if isinstance(said, dict):
        # A field that was added to an answer since need not be on the page.
        assert said.keys() - {REST} <= got.keys(), where
        for name in said.keys() - {REST}:
            compare(said[name], got[name], f"{where}.{name}")
    elif isinstance(said, list):
        shown = said[:-1] if said and said[-1] == REST else said
        assert len(got) == len(said) if shown is said else len(got) >= len(shown), where
        for place, (one, other) in enumerate(zip(shown, got)):
            compare(one, other, f"{where}[{place}]")
    elif ".contributions[" in where and where.endswith((".feature", ".value")):
        assert type(got) is (str if isinstance(said, str) else float), where  # the model's choice
    elif isinstance(said, Decimal):
        near = NEAR if said.as_tuple().exponent == -3 else 0
        assert abs(got - float(said)) <= near, (where, got)
    elif isinstance(said, str):
        assert re.fullmatch(glob(said), " ".join(got.split())), (where, got)
    else:
        assert said == got, (where, got)


def filled(said: Any, whole: Any) -> Any:
    """A request of the page with what its `...` stand for. whole: the first of its kind."""
    if isinstance(said, list):
        return [filled(one, whole[0]) for one in said]
    if isinstance(said, Decimal):
        return float(said)
    if not isinstance(said, dict):
        return said
    named = {**(whole if REST in said else {}), **said}
    return {name: filled(one, whole.get(name)) for name, one in named.items() if name != REST}


@dataclass(frozen=True)
class Exchange:
    """A block of the page: what is sent, and what comes back."""

    method: str
    path: str
    sent: Any
    status: int
    said: str

    @staticmethod
    def of(block: str) -> Exchange:
        asked, _, answered = block.partition("HTTP ")
        head, _, body = asked.partition("\n")
        status, _, said = answered.partition("\n")
        method, path = head.split()
        return Exchange(method, path, parsed(body) if body else None, int(status), said)

    @property
    def body(self) -> str | None:
        if self.sent is None:
            return None
        asked = [one for one in EXCHANGES if one.sent and "..." not in one.sent["customers"][0]]
        whole = next(one.sent for one in asked if one.sent.keys() == self.sent.keys())
        return json.dumps(filled(self.sent, whole))


EXCHANGES = [Exchange.of(block) for block in blocks("http")]


@pytest.fixture(scope="module")
def url(smoke, service):
    with service(smoke.var, "--serving.log_requests", "true") as url:
        yield url


def check(said: str, answer: httpx.Response) -> None:
    if answer.headers["content-type"] == "application/json":
        got = answer.json()
        compare(parsed(said), got)
        assert "code" not in got or answer.status_code == STATUS[got["code"]]
        assert "code" in got or answer.status_code == 200
    else:
        assert answer.status_code == 200
        assert re.fullmatch(glob(said), " ".join(answer.text.split()))


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda one: f"{one.path} {one.status}")
def test_an_exchange_is_what_the_page_shows(exchange, url):
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        answer = client.request(exchange.method, exchange.path, content=exchange.body)
    assert answer.status_code == exchange.status, answer.text
    check(exchange.said, answer)


COMMANDS = [
    (command, said)
    for block in blocks("console")
    for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


@pytest.mark.parametrize("command, said", COMMANDS, ids=lambda text: text.partition("\n")[0])
def test_a_command_prints_what_the_page_shows(command, said, url, smoke, cli, tmp_path):
    program, *words = shlex.split(command)
    if program == "curl":
        check(said, curl(words, url))
        return
    target, config, *more = words
    assert (program, config) == ("make", "CONFIG=smoke")
    options = shlex.split(more[0].removeprefix("ARGS=")) if more else []
    if said.startswith("Serving"):
        settings = load("smoke", env={})
        printed = _welcome(settings, "golden-path-smoke version 1 (bundle 0123456789ab)", URL)
    else:
        module, var, port = {
            # Without a champion it must not start.
            "serve": ("serving", tmp_path / "var", str(free_port())),
            "predict": ("serving.predict", smoke.var, url.rpartition(":")[2]),
        }[target]
        ended = cli(var, "--config", "smoke", *options, "--serving.port", port, module=module)
        printed = ended.out + ended.err
    assert re.fullmatch(glob(said), " ".join(printed.split())), printed


def curl(words: list[str], url: str) -> httpx.Response:
    parser = argparse.ArgumentParser()
    for option in ("-X", "-H", "-d"):
        parser.add_argument(option)
    parser.add_argument("-s", action="store_true")
    parser.add_argument("url")
    asked = parser.parse_args(words)
    headers = dict([asked.H.split(": ")]) if asked.H else {}
    method = asked.X or ("POST" if asked.d else "GET")
    address = asked.url.replace(URL, url)
    return httpx.request(
        method, address, content=asked.d, headers=headers, trust_env=False, timeout=60
    )


@pytest.fixture(scope="module")
def logged(url, smoke):
    """The folder of the log, with the page's first customer in it."""
    lines = next(one for one in EXCHANGES if one.path.startswith("/predict_transactions"))
    httpx.post(url + lines.path, content=lines.body, trust_env=False, timeout=60).raise_for_status()
    folder = smoke.var / "serving"
    deadline = time.monotonic() + 60
    (customer,) = json.loads(lines.body)["customers"]
    known = hashed(read_key(folder / "log.key"), customer["customer_id"])
    while not any(
        row["customer"] == known and row["as_of"] is not None
        for file in folder.glob("log/*/*.parquet")
        for row in pq.read_table(file, columns=["customer", "as_of"]).to_pylist()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return folder


def test_the_examples_in_python_print_what_their_comments_say(url, logged):
    for code in blocks("python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code.replace(URL, url).replace("var/serving", str(logged)), {})
        assert printed.getvalue().splitlines() == re.findall(r"\)  # (.*)$", code, re.MULTILINE)


def test_every_column_of_the_log_is_named(logged):
    section = TEXT.partition("## The log of requests")[2].partition("```")[0]
    for column in pq.read_schema(next(logged.glob("log/*/*.parquet"))).names:
        assert f"`{column}`" in section, column


def rows(head: str) -> list[list[str]]:
    """The cells of the table under this head, code without its marks."""
    lines = TEXT.partition(head + "\n")[2].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_the_tables_are_those_of_the_code():
    codes = {
        code: (int(status), int(after) if after else None)
        for status, code, after, _ in rows("| status | code | Retry-After | what to do |")
    }
    assert codes == {code: (status, RETRY_AFTER.get(code)) for code, status in STATUS.items()}
    endpoints = {
        path.strip("` "): method
        for paths, method, _ in rows("| path | method | answers |")
        for path in paths.split(",")
    }
    files = ("/page/", "/static_content/")
    there = {path: one.methods[0] for path, one in ROUTES.items() if not path.startswith(files)}
    assert endpoints == there
    named = {
        name: tuple(re.findall(r"\w+", labels))
        for name, labels, _ in rows("| metric | labels | is |")
    }
    ours = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    assert named == {
        one._name + ("_total" if isinstance(one, Counter) else ""): tuple(one._labelnames)
        for one in ours
    }
    defaults = {
        name.removeprefix("serving."): default
        for name, default, _ in rows("| setting | default | more than that is |")
    }
    limits = {name: field for name, field in Serving.model_fields.items() if "max_" in name}
    assert defaults == {name: str(field.default) for name, field in limits.items()}
    for name in Serving.model_fields.keys() - {"port"}:
        assert f"serving.{name}" in TEXT, name


def test_every_module_stands_in_the_map_of_the_package():
    top = Path(serving.__file__).parent
    there = {file.name for file in top.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^    (\w+\.py) ", str(serving.__doc__), re.MULTILINE)) == there
