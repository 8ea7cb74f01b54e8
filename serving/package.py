"""Build the Bento of the champion: its bundle, the code that answers from it, what to install.

python -m serving.package [--config NAME]        (make bento)

What is shipped is found by following the imports of `shipped.py`, laid out in a folder, built there
by BentoML in a process of its own, and packed. Nothing is downloaded. A Bento serves its one bundle
for good, and keeps no log of requests; a service that follows the champion is `make serve`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.errors import UserError
from common.full_disk import full_disk
from common.import_closure import ROOT, import_closure
from configs.command import run_command
from configs.settings import Settings
from registry.bundle import verify_bundle
from registry.champion import ModelVersion, the_champion
from serving.served import FILE, VARIABLES, Fixed, Served, write_served

ENTRY = "serving.shipped"
# What the modules read beside themselves: files, or folders with all that is in them.
DATA = ("configs/contract.yaml", "features/sql", "serving/page")
# What a running service must have installed, with all that it pulls in: no library of training, for
# it answers from an ONNX graph. A test compares it with what the modules that are shipped import.
DIRECT = (
    "bentoml",
    "duckdb",
    "httptools",  # uvicorn takes it up when it is there, and uvloop
    "msgspec",
    "numpy",
    "onnx",  # a bundle's graph is looked through before it is opened
    "onnxruntime",
    "prometheus-client",
    "protobuf",
    "pyarrow",
    "pydantic",
    "pydantic-settings",
    "pyyaml",
    "uvloop",
)
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# What is set here is not meant for the build.
FOREIGN = ("BENTOML_", "PROMETHEUS_", "SERVED_", "PYTHONPATH")
REFUSED = 3  # how it ends for a champion that the service would not take
# A module that is missing in the folder ends the build, not the service somewhere else: all of it
# is imported and the bundle is tried before it is packed.
BUILD = """
import sys
import bentoml
from serving.shipped import service
from serving import app, transactions
from serving.swap import Champions
from serving.served import read_served
from serving.trial import Trials
name, version, file, base = sys.argv[1:]
served = read_served()
outcome, reason = Champions(served, trials=Trials(served)).look()
if outcome != "swapped":
    print(reason, file=sys.stderr)
    sys.exit(3)  # REFUSED
# No `distro`: BentoML would install a compiler, and everything here comes as a wheel.
service.image = bentoml.images.Image(base_image=base, distro="", lock_python_packages=False)
try:
    bentoml.bentos.delete(f"{name}:{version}")  # built before
except bentoml.exceptions.NotFound:
    pass
bento = bentoml.bentos.build_bentofile("bentofile.yaml", name=name, version=version, build_ctx=".")
bento.export(file, "bento")
print(bento.path)
"""

README = """# {name}, version {version}

Answers predictions from bundle `{sha256}`: feature values, or invoice lines, in; probabilities and
decisions out. Ask `/model` what it is, `/docs` how to ask it.

    pip install -r env/python/requirements.txt        with Python {python}
    BENTOML_DO_NOT_TRACK=True bentoml serve . --host 127.0.0.1

Beyond this machine it answers with a token only: set SERVING_TOKEN to what clients will send as
`Authorization: Bearer TOKEN` (16 characters or more), and leave out `--host 127.0.0.1`.
"""


@dataclass(frozen=True)
class Built:
    """tag: in BentoML's store under `home`.  folder: there.  file: the same, packed."""

    tag: str
    home: Path
    folder: Path
    file: Path
    packages: dict[str, str]


def main(settings: Settings) -> None:
    built = build(settings, the_champion(settings))
    print(report(built))


def build(settings: Settings, model: ModelVersion) -> Built:
    """Build the Bento, keep it in the store, and pack it. Raises UserError."""
    name, version = tag_name(model.name), f"v{model.version}"
    home = (settings.var / "bentoml").resolve()
    file = (settings.var / "bento" / f"{name}-{version}.bento").resolve()
    for folder in (home, file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    required = installed()
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".building-") as work:
        staged = Path(work) / "staged"
        stage(staged, settings, model)
        packed = Path(work) / file.name
        text = README.format(
            name=model.name, version=model.version, sha256=model.bundle_sha256, python=PYTHON
        )
        order = json.dumps(options(model, text, required), indent=2)  # JSON is YAML
        (staged / "bentofile.yaml").write_text(order, encoding="utf-8")
        folder = run_build(name, version, packed, staged=staged, home=home)
        packed.replace(file)
    return Built(f"{name}:{version}", home, folder, file, required)


def stage(folder: Path, settings: Settings, model: ModelVersion) -> None:
    """Copy all that is shipped, and nothing else, into a new folder. Raises BundleRefused."""
    for path in shipped_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    verify_bundle(model.bundle, expected_sha256=model.bundle_sha256)
    shutil.copytree(model.bundle, folder / "bundle")
    verify_bundle(folder / "bundle", expected_sha256=model.bundle_sha256)
    served = Served.of(
        settings,
        model.name,
        fixed=Fixed(folder="bundle", version=model.version, bundle_sha256=model.bundle_sha256),
        allowed_hosts=sorted(settings.serving.allowed_hosts),
    )
    write_served(served, folder / FILE)


def tag_name(name: str) -> str:
    """A model's name as BentoML takes it: 63 characters of a to z, 0 to 9, and . _ - between."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:63].strip("._-")


def report(built: Built) -> str:
    """What was built, and how it is started here and elsewhere."""
    unpacked = sum(path.stat().st_size for path in built.folder.rglob("*") if path.is_file())
    needs = f"(Python {PYTHON}, {len(built.packages)} packages)"
    size = f"{built.file.stat().st_size / 1e6:.1f} MB, {unpacked / 1e6:.1f} MB unpacked"
    return f"""Built {built.tag}: {built.file} ({size})
  start it here:   BENTOML_HOME={built.home} BENTOML_DO_NOT_TRACK=True \\
                   {Path(sys.executable).parent / "bentoml"} serve {built.tag} --host 127.0.0.1
  and elsewhere:   mkdir served && tar -xJf {built.file.name} -C served && cd served
                   pip install -r env/python/requirements.txt   {needs}
                   BENTOML_DO_NOT_TRACK=True bentoml serve . --host 127.0.0.1
  beyond loopback: set SERVING_TOKEN to what clients must send, and leave out --host
  as an image:     make image"""


# --- what is shipped: code and data, and what must be installed ----------------------------------


def shipped_files() -> list[Path]:
    """Paths relative to the repository, sorted: the modules, their packages, and the data."""
    files = set(import_closure([ENTRY]).values())
    for data in DATA:
        inside = (ROOT / data).rglob("*") if (ROOT / data).is_dir() else [ROOT / data]
        files |= {path for path in inside if path.is_file()}
    return sorted(path.relative_to(ROOT) for path in files)


def installed(direct: tuple[str, ...] = DIRECT) -> dict[str, str]:
    """Distribution -> version of all that `direct` needs, by name: as installed here, for Python
    and a system like these. Raises UserError when one is not installed."""
    versions: dict[str, str] = {}
    extras: dict[str, set[str]] = {}
    todo = [Requirement(name) for name in direct]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in versions and requirement.extras <= extras[name]:
            continue
        extras[name] = extras.get(name, set()) | requirement.extras
        try:
            installed_here = distribution(name)
        except PackageNotFoundError:
            raise UserError(
                f"{name} is not installed, and the service needs it",
                where=".venv",
                next_step="set it up again: rm .venv/requirements.lock && make setup",
            ) from None
        # Without 2.1+cpu's +cpu, which is found on one machine only.
        versions[name] = installed_here.version.partition("+")[0]
        for line in installed_here.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *extras[name])
            ):
                todo.append(needed)
    return dict(sorted(versions.items()))


# --- the build -----------------------------------------------------------------------------------


def options(model: ModelVersion, readme: str, required: dict[str, str]) -> dict[str, Any]:
    """BentoML's build options (`bentofile.yaml`)."""
    # BentoML adds itself to the requirements.
    pinned = [f"{one}=={number}" for one, number in required.items() if one != "bentoml"]
    return {
        "name": tag_name(model.name),  # for `bentoml build` in the Bento's src
        "service": f"{ENTRY}:service",
        "labels": {"version": str(model.version), "bundle": model.bundle_sha256[:12]},
        "description": readme,
        "include": ["**"],
        "envs": [{"name": one, "value": value} for one, value in VARIABLES.items()],
        "python": {"packages": pinned, "lock_packages": False},
    }


def run_build(name: str, version: str, file: Path, *, staged: Path, home: Path) -> Path:
    """Build in `staged`, keep it in the store under `home`, pack it into `file`: the folder in the
    store. Raises UserError."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, name, version, str(file), f"python:{PYTHON}-slim"],
        cwd=staged,
        env=env | VARIABLES | {"BENTOML_HOME": str(home), "TMPDIR": str(staged.parent)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        log = home / "build.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        last = done.stderr.strip().splitlines() or ["it says nothing"]
        if done.returncode == REFUSED:
            raise UserError(
                f"the service would not take the champion: {last[-1]}",
                where=str(log),
                next_step="make rollback, or make train for another",
            )
        raise full_disk(done.stderr, log) or UserError(
            f"BentoML could not build it: {last[-1]}",
            where=str(log),
            next_step="a fault of the project: please report it with that log",
        )
    return Path(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    about = "Build a Bento of the champion: a folder to serve anywhere, under var/bento."
    sys.exit(run_command("serving.package", about, main))
