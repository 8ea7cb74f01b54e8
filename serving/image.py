"""Make a container image of the champion's Bento, with the engine of this machine.

python -m serving.image [--config NAME]        (make image)

The image runs as a user without rights, listens on port 3000 at every address of the container, and
answers with a token only: `docker run -e SERVING_TOKEN=... -p 3000:3000 NAME:vN`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from common.errors import UserError
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from registry.champion import the_champion
from serving.package import Built, build, report

ENGINES = ("docker", "podman")  # in this order; as BentoML calls them
ANSWER_SECONDS = 30


def main(settings: Settings) -> None:
    engine = find_engine(settings)  # before the Bento is built, which takes seconds
    built = build(settings, the_champion(settings))
    print(report(built), flush=True)
    containerize(built, engine)
    print(f"""Made the image {built.tag}
  start it:  {engine} run --rm -e SERVING_TOKEN -p 127.0.0.1:3000:3000 {built.tag}
  (set SERVING_TOKEN first, to what clients must send; /readyz says when it is ready)""")


def find_engine(settings: Settings) -> str:
    """The first engine that answers; raises UserError with the reason of each."""
    tried = []
    for engine in ENGINES:
        reason = why_not(engine)
        if reason is None:
            return engine
        tried.append(f"{engine}: {reason}")
    raise UserError(
        "no container engine answers, and an image needs one:\n         "
        + "\n         ".join(tried),
        where="this machine",
        next_step=f"start Docker, or install Podman, then {make('image', settings)} again; or"
        f" take the Bento ({make('bento', settings)}) to a machine with one, unpack it there, and:"
        " docker build -f env/docker/Dockerfile -t NAME .",
    )


def why_not(engine: str) -> str | None:
    """What is wrong with an engine; None when it answers."""
    if shutil.which(engine) is None:
        return "is not installed"
    try:
        done = subprocess.run(
            [engine, "info"], capture_output=True, text=True, timeout=ANSWER_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"did not answer `{engine} info` within {ANSWER_SECONDS} seconds"
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or ["it says nothing"]
    return f"`{engine} info` failed: {lines[-1]}"


def containerize(built: Built, engine: str) -> None:
    """BentoML's `containerize`, with its output on the terminal. Raises UserError."""
    command = [sys.executable, "-m", "bentoml", "containerize", built.tag]
    command += ["--backend", engine, "--image-tag", built.tag]
    env = os.environ | {"BENTOML_HOME": str(built.home), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(command, env=env)
    if done.returncode:
        raise UserError(
            f"{engine} could not make the image (exit code {done.returncode})",
            where=str(built.folder / "env" / "docker" / "Dockerfile"),
            next_step="read what it printed above: it needs a network, or a mirror, for the base"
            " image and the packages",
        )


if __name__ == "__main__":
    about = "Build the champion's Bento, and make a container image of it."
    sys.exit(run_command("serving.image", about, main))
