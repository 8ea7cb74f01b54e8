"""Build the Bento of the champion: its bundle, the code that answers from it, what to install.

python -m serving.shipping.bento [--config NAME]        (make bento)

What is shipped is laid out in a folder, built there (`build.py`) and packed. Nothing is downloaded.
A Bento serves its one bundle for good, and keeps no log of requests; a service that follows the
champion is `make serve`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from configs.command import run_command
from configs.settings import Settings
from registry.bundle import verify_bundle
from registry.champion import ModelVersion, the_champion
from serving.served import FILE, Fixed, Served, write_served
from serving.shipping import packages, sources
from serving.shipping.build import PYTHON, options, run_build

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
    """Put together, built, kept in the store and packed. Raises UserError."""
    name, version = tag_name(model.name), f"v{model.version}"
    home = (settings.var / "bentoml").resolve()
    file = (settings.var / "bento" / f"{name}-{version}.bento").resolve()
    for folder in (home, file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    required = packages.closure()
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".building-") as work:
        staged = Path(work) / "staged"
        stage(staged, settings, model)
        aside = Path(work) / file.name
        text = README.format(
            name=model.name, version=model.version, sha256=model.bundle_sha256, python=PYTHON
        )
        order = json.dumps(options(model, text, required), indent=2)  # JSON is YAML
        (staged / "bentofile.yaml").write_text(order, encoding="utf-8")
        folder = run_build(name, version, aside, staged=staged, home=home)
        aside.replace(file)
    return Built(f"{name}:{version}", home, folder, file, required)


def stage(folder: Path, settings: Settings, model: ModelVersion) -> None:
    """All that is shipped, and nothing else, into a new folder. Raises BundleRefused."""
    for path in sources.files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources.ROOT / path, folder / path)
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


if __name__ == "__main__":
    about = "Build a Bento of the champion: a folder to serve anywhere, under var/bento."
    sys.exit(run_command("serving.shipping.bento", about, main))
