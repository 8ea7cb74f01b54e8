"""`make data`, against a real server on loopback: whole, cut off, resumed, changed, not there."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from ingestion.download import Published, fetch

CONTENT = np.random.default_rng(5).bytes(3_000_000)  # does not shrink in the archive


def packed(content: bytes, name: str = "log.xlsx") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "about")
        archive.writestr(name, content)
    return file.getvalue()


@dataclass
class Server:
    """What the server holds and how it behaves; `requests` are the Range headers that it got."""

    body: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    cut_after: int | None = None
    status: int | None = None
    url: str = ""
    requests: list[str | None] = field(default_factory=list)
    sent: int = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.requests.append(wanted)
        if self.status:
            return request.send_error(self.status)
        start = 0
        if wanted and self.ranges and request.headers.get("If-Range") == self.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(self.body):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        if self.etag:
            request.send_header("ETag", self.etag)
        if start:
            last = len(self.body) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        request.send_header("Content-Length", str(len(self.body) - start))
        request.end_headers()
        part = self.body[start : self.cut_after]
        self.sent += len(part)
        request.wfile.write(part)  # and the connection is closed, cut off or not
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    held = Server(packed(CONTENT))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as started:
        held.url = f"http://127.0.0.1:{started.server_address[1]}/log.zip"
        thread = threading.Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        yield held
        started.shutdown()
        thread.join()


def published(url: str, content: bytes = CONTENT) -> Published:
    sha256 = hashlib.sha256(content).hexdigest()
    return Published("a log", url, "log.xlsx", len(content), sha256)


def refused(wanted: Published, folder: Path) -> UserError:
    """One message with what to do by hand, and no file under the published name."""
    with pytest.raises(UserError) as caught:
        fetch(wanted, folder, lambda line: None)
    error = caught.value
    assert error.what and error.where == wanted.url
    assert "by hand" in error.next_step and str(folder / "log.xlsx") in error.next_step
    assert wanted.sha256 in error.next_step
    assert not (folder / ".log.xlsx.unfinished").exists()
    return error


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_file_is_fetched_and_checked_once_and_nothing_else_is_left(server, tmp_path):
    lines: list[str] = []
    for _ in range(2):
        path = fetch(published(server.url), tmp_path / "data", lines.append)
        assert path.read_bytes() == CONTENT and names(tmp_path / "data") == {"log.xlsx"}
    assert "as published" in lines[-2] and "is there, and is the published file" in lines[-1]
    assert server.requests == [None]


def test_another_file_of_that_name_is_neither_taken_nor_overwritten(server, tmp_path):
    (tmp_path / "log.xlsx").write_bytes(b"mine")
    error = refused(published(server.url), tmp_path)
    assert "it is not the published file" in error.what and "move it away" in error.next_step
    assert (tmp_path / "log.xlsx").read_bytes() == b"mine" and server.requests == []


def test_a_download_that_was_cut_off_goes_on_from_there(server, tmp_path):
    server.cut_after = 1_000_000
    error = refused(published(server.url), tmp_path)
    assert "the download failed" in error.what and "1.0 MB received are kept" in error.what
    assert not (tmp_path / "log.xlsx").exists()
    server.cut_after = None
    fetch(published(server.url), tmp_path, lambda line: None)
    assert server.requests == [None, "bytes=1000000-"] and server.sent == len(server.body)
    assert (tmp_path / "log.xlsx").read_bytes() == CONTENT and names(tmp_path) == {"log.xlsx"}


@pytest.mark.parametrize("change", ["no ranges", "no version", "weak version", "another version"])
def test_a_server_that_cannot_go_on_is_asked_for_all_of_it(server, tmp_path, change):
    if change in ("no version", "weak version"):
        server.etag = None if change == "no version" else 'W/"one"'
    server.cut_after = 1_000_000
    refused(published(server.url), tmp_path)
    server.cut_after, content = None, CONTENT
    server.ranges = change != "no ranges"
    if change == "another version":
        server.etag, content = '"two"', CONTENT[::-1]
        server.body = packed(content)
    wanted = published(server.url, content)
    assert fetch(wanted, tmp_path, lambda line: None).read_bytes() == content


def test_an_archive_that_came_whole_but_was_not_unpacked_is_not_fetched_again(server, tmp_path):
    server.cut_after = len(server.body) - 1
    refused(published(server.url), tmp_path)
    with (tmp_path / ".log.xlsx.zip.partial").open("ab") as file:
        file.write(server.body[-1:])
    server.cut_after = None
    fetch(published(server.url), tmp_path, lambda line: None)
    assert server.sent == len(server.body) - 1 and len(server.requests) == 2


def test_a_wrong_checksum_is_no_file_and_the_next_try_starts_over(server, tmp_path):
    right, server.body = server.body, packed(CONTENT[:-1] + b"?")
    error = refused(published(server.url), tmp_path)
    assert "is not the published file: sha256" in error.what and names(tmp_path) == set()
    server.body = right
    assert fetch(published(server.url), tmp_path, lambda line: None).read_bytes() == CONTENT
    assert server.requests == [None, None]


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", packed(b"", "other.xlsx")])
def test_a_page_or_another_archive_in_its_place(server, tmp_path, body):
    server.body = body
    assert "the download is not the published file" in refused(published(server.url), tmp_path).what
    assert names(tmp_path) == set()


def test_a_server_that_does_not_have_it_is_named_with_its_status(server, tmp_path):
    server.status = 404
    assert "the server answers 404" in refused(published(server.url), tmp_path).what


def test_a_server_that_cannot_be_reached(tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/log.zip"
        error = refused(published(url), tmp_path)
    assert "the download failed" in error.what and "when there is a network" in error.next_step

    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    error = refused(published("http://archive.example.org/log.zip"), tmp_path)
    assert "name resolution" in error.what and names(tmp_path) == set()
