"""The Bento (`make bento`), started where nothing is installed but what it asks for; the image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import msgspec
import psutil
import pytest
import yaml
from packaging.utils import canonicalize_name
from real_service import BUYER, ROOT, ROW, SAMPLES, end, make_bundle, wait_for

from common.errors import UserError
from common.import_closure import import_closure, imports
from configs.load import load
from configs.settings import Settings
from registry.bundle import DESCRIPTION, MODEL, write_bundle
from registry.champion import ModelVersion, the_champion
from serving import package
from serving.client import Client, ServiceRefused
from serving.image import containerize, find_engine
from serving.package import Built, build, report, tag_name
from serving.served import FILE, VARIABLES, read_served
from tests.commands import free_port

pytestmark = pytest.mark.slow

# Imported by functions that a Bento never calls: it watches no registry.
NEVER_CALLED = {"mlflow"}
TRAINING = (
    *("xgboost", "torch", "sklearn", "optuna", "tabm", "mlflow", "prefect", "great_expectations"),
    *("pandas", "onnxmltools", "onnxscript", "sqlalchemy", "fastapi"),
)
TOKEN = "a token that clients must send"


@dataclass(frozen=True)
class Shipped:
    built: Built
    model: ModelVersion
    settings: Settings

    @property
    def requirements(self) -> list[str]:
        return (self.built.folder / "env" / "python" / "requirements.txt").read_text().split()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bento")
    settings = load("smoke", ["--var", str(folder / "var"), "--serving.max_rows", "7"])
    model = ModelVersion("Test_Model", 3, folder / "bundle", make_bundle(folder / "bundle"), "run")
    return Shipped(build(settings, model), model, settings)


@pytest.fixture(scope="module")
def python(shipped, tmp_path_factory):
    """An interpreter that has what the Bento's requirements name, and nothing else: links to the
    very files of these distributions."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    target = next(folder.glob("lib/python*/site-packages"))
    owners = packages_distributions()
    for line in shipped.requirements:
        name, _, version = line.partition("==")
        installed = distribution(name)
        assert installed.version.partition("+")[0] == version
        for file in installed.files or []:
            # A folder that others share (opentelemetry) is linked file by file, any other whole.
            shared = len(owners.get(file.parts[0], [name])) > 1
            place = target / file if shared else target / file.parts[0]
            if ".." not in file.parts and not place.is_symlink():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(Path(str(installed.locate_file(place.relative_to(target)))))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def unpacked(shipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    with tarfile.open(shipped.built.file) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def started(python, unpacked, tmp_path_factory):
    """`bentoml serve .` in the unpacked Bento, as its README says, on another port."""
    port, home = free_port(), tmp_path_factory.mktemp("home")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "BENTOML_HOME": str(home / "bentoml")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "SERVING_TOKEN": TOKEN}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", str(port)],
            cwd=unpacked,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with Client(f"http://127.0.0.1:{port}", token=TOKEN) as client:
            wait_for(lambda: process.poll() is not None or client.ready(), 60, home / "log")
            assert process.poll() is None, (home / "log").read_text()
            yield client, psutil.Process(process.pid)
    finally:
        end(process)


# --- what it answers ---------------------------------------------------------------------------


def test_the_bento_answers_from_its_own_bundle(started, shipped):
    import bentoml

    client, _ = started
    answer = client.predict([ROW | {"customer_id": "a"}])
    model = answer.model
    assert (model.name, model.version) == ("Test_Model", 3)
    assert model.bundle_sha256 == shipped.model.bundle_sha256
    assert 0 <= answer.predictions[0].probability <= 1
    lines = client.predict_transactions(SAMPLES[0]["as_of"], [BUYER], features=True)
    assert lines.predictions[0].features is not None
    assert lines.predictions[0].features["recency_days"] == 20
    assert [one.line for one in lines.left_out] == [3]
    assert client.explain([ROW]).method.reference_rows == 8
    with bentoml.SyncHTTPClient(client.url, token=TOKEN) as theirs:
        again = theirs.predict(customers=[ROW | {"customer_id": "a"}])
    assert again == msgspec.to_builtins(answer)


def test_the_bento_requires_the_token_and_keeps_its_limits(started):
    import bentoml

    client, _ = started
    with Client(client.url) as nobody, pytest.raises(ServiceRefused) as caught:
        nobody.predict([ROW])
    assert caught.value.code == "unauthorized"
    with pytest.raises(bentoml.exceptions.BentoMLException, match=r"schema\.json"):
        bentoml.SyncHTTPClient(client.url, token=TOKEN[::-1])
    with pytest.raises(ServiceRefused) as caught:
        client.predict([ROW] * 8)
    assert caught.value.status == 400 and "7" in caught.value.error


def test_the_workers_of_the_bento_send_no_usage_data_and_load_no_training_library(
    started, python, unpacked, tmp_path
):
    workers = started[1].children(recursive=True)
    assert workers
    for worker in workers:
        env = worker.environ()
        assert env["ORT_DISABLE_TELEMETRY"] == "1" and env["OTEL_SDK_DISABLED"] == "true"
        assert env["BENTOML_DO_NOT_TRACK"] == "True" and "SERVED_FILE" not in env
        mapped = " ".join(entry.path for entry in worker.memory_maps())
        assert not [name for name in TRAINING if f"/{name}/" in mapped]
    # BentoML's command line has looked whether it may send usage data before it loads the Bento.
    code = f"""
from importlib.util import find_spec
from bentoml._internal.utils.analytics import usage_stats
before = usage_stats.do_not_track()
import serving.shipped
print(before, usage_stats.do_not_track(), *filter(find_spec, {TRAINING}))
"""
    done = subprocess.run(
        [python, "-c", code],
        cwd=unpacked / "src",
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "BENTOML_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


# --- what is in it -----------------------------------------------------------------------------


def test_the_bento_holds_only_the_files_it_runs(shipped):
    source = shipped.built.folder / "src"
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    bundle = {f"bundle/{path.name}" for path in shipped.model.bundle.iterdir()}
    code = {path.as_posix() for path in package.shipped_files()}
    assert there == bundle | code | {FILE, "bentofile.yaml"}
    packages = {path.split("/")[0] for path in code}
    assert packages == {"common", "configs", "features", "ingestion", "registry", "serving"}
    assert code >= {"features/sql/windows.sql", "serving/page/index.html", "serving/app.py"}
    assert not code & {"serving/__main__.py", "configs/default.yaml", "serving/client.py"}
    here = {str(ROOT), str(shipped.settings.var), sys.prefix}
    for path in shipped.built.folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "ignore")
            assert not [place for place in here if place in text], path
    served = read_served({"SERVED_FILE": str(source / FILE)})
    champion = served.find()
    assert champion is not None and champion.bundle == source / "bundle"
    assert (champion.name, champion.version) == ("Test_Model", 3)
    assert champion.bundle_sha256 == shipped.model.bundle_sha256
    assert served.tracking_uri is served.launcher is served.token_file is served.log_folder is None


def test_the_list_of_packages_is_what_the_shipped_modules_import():
    at_home = {path.parts[0] for path in package.shipped_files()}
    known, closure = packages_distributions(), package.installed()

    def imported(*, later: bool) -> set[str]:
        modules = import_closure([package.ENTRY])
        names = {
            name.split(".")[0]
            for module, file in modules.items()
            for name in imports(module, file, later=later)
        }
        return names - at_home - set(sys.stdlib_module_names)

    def of(name: str) -> set[str]:
        return {canonicalize_name(one) for one in known[name]} & set(closure)

    assert {name for name in imported(later=True) if not of(name)} == NEVER_CALLED
    assert {name for name in imported(later=False) if not of(name)} == set()
    used = {one for name in imported(later=True) for one in of(name)}
    assert set(package.DIRECT) - used == {"httptools", "uvloop"}


def test_every_package_is_pinned_once_and_one_that_is_not_installed_is_named(shipped):
    lines = shipped.requirements
    assert sorted(lines) == sorted(f"{k}=={v}" for k, v in shipped.built.packages.items())
    locked = (ROOT / "requirements.lock").read_text()
    assert [line for line in lines if f"\n{line}" not in locked] == []
    with pytest.raises(UserError, match="no-such-package"):
        package.installed(("no-such-package",))


def test_building_again_gives_the_same_in_the_same_place(shipped):
    before, ours = shipped.requirements, shipped.built
    again = build(shipped.settings, shipped.model)
    assert (again.tag, again.file, again.folder) == (ours.tag, ours.file, ours.folder)
    assert shipped.requirements == before
    assert [path.name for path in again.file.parent.iterdir()] == [again.file.name]
    text = report(ours)
    assert ours.tag == "test_model:v3" and ours.file.name == "test_model-v3.bento"
    for word in ("test_model:v3", "test_model-v3.bento", "MB", "bentoml serve", "SERVING_TOKEN"):
        assert word in text


def test_bentomls_commands_list_and_build_the_bento(shipped, tmp_path):
    def bento(*words: str, home: Path) -> subprocess.Popen[str]:
        own = {"BENTOML_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "bentoml", *words],
            cwd=shipped.built.folder / "src",
            env=os.environ | VARIABLES | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    home, tag = shipped.built.home, shipped.built.tag
    started = [
        bento("list", "-o", "json", home=home),
        bento("get", tag, "-o", "json", home=home),
        bento("build", "--version", "mine", "-o", "tag", home=tmp_path),
    ]
    printed = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], printed
    listed, got, built = (out for out, _ in printed)
    assert tag in [one["tag"] for one in json.loads(listed)]
    assert json.loads(got)["labels"]["bundle"] == shipped.model.bundle_sha256[:12]
    assert built.strip() == "__tag__:test_model:mine"


@pytest.mark.parametrize(
    ("name", "tag"),
    [("golden-path-smoke", "golden-path-smoke"), ("golden-path-My Shop!", "golden-path-my-shop")],
)
def test_a_models_name_becomes_a_tag(name, tag):
    assert tag_name(name) == tag and len(tag_name(name * 9)) <= 63


def test_a_bundle_that_is_altered_or_could_not_answer_is_not_packed(shipped, tmp_path):
    sha256 = make_bundle(tmp_path / "bundle")
    graph = (tmp_path / "bundle" / MODEL).read_bytes()
    description = json.loads((tmp_path / "bundle" / DESCRIPTION).read_text())
    (tmp_path / "bundle" / MODEL).write_bytes(b"another")
    with pytest.raises(UserError, match="the model bundle is refused"):
        build(shipped.settings, ModelVersion("other", 1, tmp_path / "bundle", sha256, "run"))
    fewer = description | {"features": description["features"][:-1]}
    sha256 = write_bundle(tmp_path / "fewer", graph, fewer)
    why = r"would not take the champion: .*its graph takes"
    with pytest.raises(UserError, match=why) as caught:
        build(shipped.settings, ModelVersion("other", 1, tmp_path / "fewer", sha256, "run"))
    assert "its graph takes" in Path(caught.value.where).read_text()
    assert not (shipped.built.home / "bentos" / "other").exists()
    assert not list(shipped.built.file.parent.glob("other*"))
    with pytest.raises(UserError, match="no champion yet"):
        the_champion(load("smoke", ["--var", str(tmp_path)]))


# --- the image ---------------------------------------------------------------------------------


def test_the_image_runs_without_rights_from_a_slim_base(shipped):
    lines = (shipped.built.folder / "env" / "docker" / "Dockerfile").read_text().splitlines()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert [line for line in lines if line.startswith("FROM ")] == [
        f"FROM python:{version}-slim AS base-container"
    ]
    assert [line for line in lines if line.startswith("USER ")] == ["USER bentoml"]
    after = lines[lines.index("USER bentoml") :]
    assert any(line.startswith("ENTRYPOINT") for line in after)
    assert not any(line.startswith("RUN") for line in after)
    assert not [line for line in lines if "apt-get" in line or TOKEN in line]
    env = yaml.safe_load((shipped.built.folder / "bento.yaml").read_text())["envs"]
    assert {one["name"]: one["value"] for one in env}["BENTOML_DO_NOT_TRACK"] == "True"
    for name in ("BENTOML_DO_NOT_TRACK", "OTEL_SDK_DISABLED", "ORT_DISABLE_TELEMETRY"):
        assert f"ENV {name}=${name}" in lines


def engine(folder: Path, name: str, info: str) -> None:
    """A container engine's client, which writes down what it is called with."""
    folder.mkdir(exist_ok=True)
    script, calls = folder / name, folder / f"{name}.calls"
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nif [ "$1" = info ]; then {info}; fi\n')
    script.chmod(0o755)


def test_without_a_container_engine_the_command_names_what_it_tried_and_builds_nothing(tmp_path):
    engine(tmp_path / "bin", "docker", "echo Cannot connect to the daemon >&2; exit 1")
    done = subprocess.run(
        [sys.executable, "-m", "serving.image", "--var", str(tmp_path / "var")],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: no container engine answers")
    tried = "docker: `docker info` failed: Cannot connect to the daemon"
    for text in (tried, "podman: is not installed", "next:", "make"):
        assert text in done.stderr
    assert not (tmp_path / "var" / "bento").exists()


def test_the_first_engine_that_answers_builds_the_image(shipped, tmp_path, monkeypatch, capfd):
    engine(tmp_path, "docker", "exit 1")
    engine(tmp_path, "podman", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_engine(shipped.settings) == "podman"
    containerize(shipped.built, "podman")
    call = (tmp_path / "podman.calls").read_text().splitlines()[-1]
    assert call.startswith("build ") and f"--tag {shipped.built.tag}" in call
    assert "Dockerfile" in call
