"""Fetch a published file: resumable, checked by its sha256, and clear when there is no network.

The only part of the project that uses the network, and only when `make data` is called.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from common.errors import UserError
from common.files import atomic_path, sha256_of

BLOCK = 1 << 20
# A server may be slow to answer, but one that says nothing for so long has gone.
PATIENCE = httpx.Timeout(30.0, connect=15.0)


@dataclass(frozen=True)
class Published:
    """A file in a ZIP archive on the web."""

    title: str
    url: str
    name: str
    size: int
    sha256: str


ONLINE_RETAIL_II = Published(
    title="UCI data set 502, Online Retail II (Daqing Chen, CC BY 4.0)",
    url="https://archive.ics.uci.edu/static/public/502/online+retail+ii.zip",
    name="online_retail_II.xlsx",
    size=45_622_278,
    sha256="bcbe73b35f5b7babf197fb0cb983a11f5d9ff929078d4aa53d171b1f2df2e980",
)


def fetch(published: Published, folder: Path, say: Callable[[str], None]) -> Path:
    """Download the file into `folder`, unless it is there and intact; returns its path.

    A partial archive is kept as `.<name>.zip.partial`, and the next call resumes it if the server
    still has the same file. Raises UserError when the server cannot be reached or does not have the
    file, when the connection ends early, and when the content is not the published file, byte for
    byte; in that case nothing is left under its name.
    """
    target = folder / published.name
    if target.exists():
        if sha256_of(target) == published.sha256:
            say(f"{target} is there, and is the published file")
            return target
        raise _by_hand(
            published, target, f"{target.name} is there, but it is not the published file",
            "move it away and run this again",
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{published.name}.zip.partial"
    say(f"fetching {published.title}\n  from {published.url}")
    try:
        _download(published, partial, target, say)
    except httpx.HTTPError as error:
        kept = f"; the {_megabytes(partial)} received are kept" if partial.exists() else ""
        raise _by_hand(
            published, target, f"the download failed: {str(error) or type(error).__name__}{kept}",
            "run the same command again when there is a network: it goes on from there",
        ) from error  # fmt: skip
    _unpack(published, partial, target)
    say(f"{target}: {published.size:,} bytes, sha256 {published.sha256[:12]}… as published")
    return target


def _download(
    published: Published, partial: Path, target: Path, say: Callable[[str], None]
) -> None:
    """Fill `partial`. The file `.etag` beside it records the version that it is a part of."""
    note = partial.with_suffix(".etag")
    have = partial.stat().st_size if partial.exists() else 0
    version = json.loads(note.read_text())["version"] if have and note.exists() else None
    headers = {"Accept-Encoding": "identity"}
    if have and version:  # without a version there is no telling whether the two halves fit
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with (
        httpx.Client(follow_redirects=True, timeout=PATIENCE) as client,
        client.stream("GET", published.url, headers=headers) as response,
    ):
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there already; unpacking will tell
        if not response.is_success:
            raise _by_hand(
                published, target,
                f"the server answers {response.status_code} {response.reason_phrase}",
                "the file may have moved: look for data set 502 on archive.ics.uci.edu",
            )  # fmt: skip
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed:
            say(f"  going on after the first {_megabytes(partial)}")
        header = response.headers.get("ETag") or response.headers.get("Last-Modified")
        version = None if header is None or header.startswith("W/") else header
        note.write_text(json.dumps({"version": version}), encoding="utf-8")
        with partial.open("ab" if resumed else "wb") as file:
            for block in response.iter_raw():  # as it comes: what is gathered first is lost
                file.write(block)


def _unpack(published: Published, partial: Path, target: Path) -> None:
    """Extract the published file from the archive, check it, then rename it."""
    try:
        with zipfile.ZipFile(partial) as archive:
            inside = next(
                (name for name in archive.namelist() if Path(name).name == published.name), None
            )
            if inside is None:
                raise zipfile.BadZipFile(f"it holds no {published.name}")
            with atomic_path(target) as temporary:
                with archive.open(inside) as packed, temporary.open("wb") as file:
                    shutil.copyfileobj(packed, file, BLOCK)
                sha256 = sha256_of(temporary)
                if sha256 != published.sha256:
                    raise zipfile.BadZipFile(f"sha256 of {published.name} is {sha256}")
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise _by_hand(
            published, target, f"the download is not the published file: {error}",
            "run this again: it starts over",
        ) from error  # fmt: skip
    finally:  # whole or wrong, nothing is gained by going on from it
        partial.unlink(missing_ok=True)
        partial.with_suffix(".etag").unlink(missing_ok=True)


def _by_hand(published: Published, target: Path, what: str, step: str) -> UserError:
    return UserError(
        what,
        where=published.url,
        next_step=f"{step}; or fetch that archive by hand, and put {published.name} at {target}"
        f" ({published.size:,} bytes, sha256 {published.sha256})",
    )


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
