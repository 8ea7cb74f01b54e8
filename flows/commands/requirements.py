"""`make lock`: resolve pyproject.toml into the two lock files, with a hash for every file.

`requirements.lock` holds what every machine installs, one package a line. PyTorch is locked by its
version alone: the hashes of its CPU builds stand beside those of its standard builds, so that pip
takes whichever the machine's sources offer. `requirements-cuda.lock` holds what the standard build
needs besides on Linux.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = "torch"
# The packages that only PyTorch's standard build for Linux needs.
CUDA = re.compile(r"(nvidia-(cu|nc|nv)|cuda-|triton==)")
LOCAL_VERSION = re.compile(r"==([^\s+]+)\+\w+")
HEADER = """\
# Written by `make lock` from pyproject.toml. Do not edit.
# `make setup` installs nothing whose hash is not here (pip's --require-hashes).
"""
ABOUT_TORCH = """\
# torch: the hashes of the standard builds, and of the CPU builds that pip was offered when this
# file was written. Set-up takes the CPU build where one is offered. If the hash of yours is
# not here (another Python or processor), add it to the line of torch: `pip hash FILE` prints it,
# and `make lock` keeps it. Where none is offered, the standard build is installed.
"""
ABOUT_CUDA = """\
# What the standard build of torch needs besides on Linux; with a CPU build it is not installed.
"""


def main(arguments: list[str]) -> int:
    lock, cuda = ROOT / "requirements.lock", ROOT / "requirements-cuda.lock"
    everything = resolve([str(ROOT / "pyproject.toml"), "--extra", "dev"], lock, arguments)
    kept = [line for line in everything if not CUDA.match(line)]
    kept = one_torch([*kept, *torch_lines(lock)])
    lock.write_text(HEADER + ABOUT_TORCH + "\n".join(kept) + "\n", encoding="utf-8")
    (version,) = (line.split()[0] for line in kept if line.startswith(f"{TORCH}=="))
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "torch.in"
        wanted.write_text(version, encoding="utf-8")
        standard = resolve([str(wanted)], cuda, arguments, find_links=False)
    only = [line for line in standard if CUDA.match(line)]
    cuda.write_text(HEADER + ABOUT_CUDA + "\n".join(only) + "\n", encoding="utf-8")
    print(f"{len(kept)} packages locked, and {len(only)} for CUDA")
    return 0


def resolve(
    inputs: list[str], lock: Path, arguments: list[str], *, find_links: bool = True
) -> list[str]:
    """Return the packages that uv resolves, each with its marker and hashes on one line, sorted.

    lock: versions in it are kept where they still fit, unless `--upgrade` is among the arguments.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "resolved.txt"
        if lock.exists():  # without PyTorch: a preferred 2.13.0 would hide the build 2.13.0+cpu
            lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(f"{TORCH}==")]
            output.write_text("".join(kept), encoding="utf-8")
        command = [
            *(f"{Path(sys.executable).parent}/uv", "pip", "compile", *inputs, "--universal"),
            *("--python-version", "3.11", "--quiet", "--generate-hashes", "--no-header"),
            *("--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *("--output-file", str(output), *arguments),
        ]
        subprocess.run(command, check=True, env=os.environ | uv_sources(find_links))
        joined = output.read_text(encoding="utf-8").replace("\\\n", " ")
    packages = (" ".join(line.split()) for line in joined.splitlines())
    return sorted(line for line in packages if line and not line.startswith("#"))


def uv_sources(find_links: bool) -> dict[str, str]:
    """Return pip's find-links for uv, which does not read pip's configuration."""
    if not find_links:
        return {"UV_FIND_LINKS": ""}
    if "UV_FIND_LINKS" in os.environ:
        return {}
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    configured = subprocess.run(command, capture_output=True, text=True).stdout
    links = shlex.split(os.environ.get("PIP_FIND_LINKS") or configured)
    return {"UV_FIND_LINKS": ",".join(links)}


def torch_lines(lock: Path) -> list[str]:
    """Return the lines of PyTorch in the lock file: they hold the hashes of CPU builds of other
    machines."""
    if not lock.exists():
        return []
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(f"{TORCH}==") and "--hash" in line]


def one_torch(lines: list[str]) -> list[str]:
    """Join all builds of one PyTorch version into a single line without a marker.

    Later lines that name another version of PyTorch are old, and are left out.
    """
    plain = [LOCAL_VERSION.sub(r"==\1", line) for line in lines]
    builds = [line for line in plain if line.startswith(f"{TORCH}==")]
    version = builds[0].split()[0]
    hashes = {
        word
        for line in builds
        if line.split()[0] == version
        for word in line.split()
        if word.startswith("--hash=")
    }
    others = [line for line in plain if not line.startswith(f"{TORCH}==")]
    return sorted([*others, " ".join([version, *sorted(hashes)])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
