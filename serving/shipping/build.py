"""BentoML's build, in a process of its own and in a folder that has nothing but what is shipped.

A module that is missing there ends the build, not the service somewhere else: all of it is imported
and the bundle is asked before it is packed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.full_disk import full_disk
from registry.champion import ModelVersion
from serving.quiet import VARIABLES
from serving.shipping import sources

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# What is set here is not meant for the build.
FOREIGN = ("BENTOML_", "PROMETHEUS_", "SERVED_", "PYTHONPATH")
REFUSED = 3  # how it ends for a champion that the service would not take
BUILD = """
import sys
import bentoml
from serving.shipping.shipped import service
from serving.web import front
from serving.champions import Champions
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


def options(model: ModelVersion, readme: str, required: dict[str, str]) -> dict[str, Any]:
    """BentoML's build options (`bentofile.yaml`)."""
    # BentoML adds itself to the requirements.
    pinned = [f"{one}=={number}" for one, number in required.items() if one != "bentoml"]
    return {
        "service": f"{sources.ENTRY}:service",
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
