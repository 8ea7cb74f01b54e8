"""The Bento (`make bento`), started where nothing is installed but what it asks for; the image."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tarfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import msgspec
import psutil
import pytest
import yaml
from packaging.utils import canonicalize_name
from real_service import ROOT, end, free_port, make_bundle

from common.errors import UserError
from configs.load import load
from configs.settings import Settings
from configs.source import CANONICAL
from features.catalogue import CATALOGUE
from registry.bundle import DESCRIPTION, MODEL, write_bundle
from registry.champion import ModelVersion, the_champion
from serving import package
from serving.client import Client, ServiceRefused
from serving.image import containerize, find_engine
from serving.package import Built, build, report, tag_name
from serving.served import FILE, VARIABLES, read_served

pytestmark = pytest.mark.slow

# Imported by functions that a Bento never calls: it watches no registry.
NEVER_CALLED = {"mlflow"}
TRAINING = (
    *("xgboost", "torch", "sklearn", "optuna", "tabm", "mlflow", "prefect", "great_expectations"),
    *("pandas", "onnxmltools", "onnxscript", "sqlalchemy", "fastapi"),
)
ROW = {feature.name: max(feature.low, 1.0) for feature in CATALOGUE}
TOKEN = "a token that clients must send"


@dataclass(frozen=True)
class Shipped:
    built: Built
    model: ModelVersion
    settings: Settings


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    folder = tmp_path_factory.mktemp("bento")
    settings = load("smoke", ["--var", str(folder / "var"), "--serving.max_rows", "7"])
    make_bundle(folder / "bundle")
    section = {
        "declared": sorted(CANONICAL),
        "contract": settings.contract.model_dump(mode="json"),
        "features": {
            name: getattr(settings.features, name)
            for name in ("horizon_days", "active_days", "invoice_days", "home_country")
        },
        "log_start": "2024-01-01",
    }
    description = json.loads((folder / "bundle" / DESCRIPTION).read_text())
    sha256 = write_bundle(
        folder / "bundle",
        (folder / "bundle" / MODEL).read_bytes(),
        description | {"transactions": section},
        {"reference": [list(ROW.values())] * 3, "samples": []},
    )
    model = ModelVersion("Test_Model", 3, folder / "bundle", sha256, "run")
    return Shipped(build(settings, model), model, settings)


@pytest.fixture(scope="module")
def python(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has what the Bento's requirements name, and nothing else: links to the
    very files of these distributions."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    target = next(folder.glob("lib/python*/site-packages"))
    required = (shipped.built.folder / "env" / "python" / "requirements.txt").read_text()
    owners = packages_distributions()
    for line in required.split():
        name, _, version = line.partition("==")
        found = distribution(name)
        assert found.version.partition("+")[0] == version
        for file in found.files or []:
            # A folder that others share (opentelemetry) is linked file by file, any other whole.
            shared = len(owners.get(file.parts[0], [name])) > 1
            place = target / file if shared else target / file.parts[0]
            if ".." not in file.parts and not place.is_symlink():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(Path(str(found.locate_file(place.relative_to(target)))))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def unpacked(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    with tarfile.open(shipped.built.file) as packed:
        packed.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True)
class Started:
    client: Client
    process: psutil.Process


@pytest.fixture(scope="module")
def started(
    python: Path, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
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
    limit = time.monotonic() + 60
    try:
        with Client(f"http://127.0.0.1:{port}", token=TOKEN) as client:
            while not client.ready():
                said = (home / "log").read_text()
                assert process.poll() is None and time.monotonic() < limit, said
                time.sleep(0.05)
            yield Started(client, psutil.Process(process.pid))
    finally:
        end(process)


# --- what it answers ---------------------------------------------------------------------------


def test_it_answers_from_its_own_bundle(started: Started, shipped: Shipped) -> None:
    answer = started.client.predict([ROW | {"customer_id": "a"}])
    model = answer.model
    assert (model.name, model.version) == ("Test_Model", 3)
    assert model.bundle_sha256 == shipped.model.bundle_sha256
    assert 0 <= answer.predictions[0].probability <= 1


def test_it_answers_invoice_lines_and_explains(started: Started) -> None:
    line = {
        "invoice_id": "1",
        "product_id": "85123A",
        "description": "tea",
        "quantity": 2,
        "unit_price": 2.5,
        "invoiced_at": "2025-05-01T10:00:00",
        "country": "France",
    }
    lines = [line, line | {"unit_price": 0.0, "invoice_id": "2"}]
    answer = started.client.predict_transactions(
        "2025-06-01", [{"customer_id": "a", "lines": lines}], features=True
    )
    assert answer.predictions[0].features is not None
    assert answer.predictions[0].features["recency_days"] == 31
    assert [one.line for one in answer.left_out] == [1]
    explained = started.client.explain([ROW])
    assert explained.method.reference_rows == 3


def test_it_keeps_the_limits_it_was_built_with(started: Started) -> None:
    with pytest.raises(ServiceRefused) as caught:
        started.client.predict([ROW] * 8)
    assert caught.value.status == 400 and "7" in caught.value.error


def test_it_demands_the_token(started: Started) -> None:
    with Client(started.client.url) as stranger, pytest.raises(ServiceRefused) as caught:
        stranger.predict([ROW])
    assert caught.value.code == "unauthorized"


def test_bentomls_own_client_calls_it_with_the_token(started: Started) -> None:
    import bentoml

    with bentoml.SyncHTTPClient(started.client.url, token=TOKEN) as client:
        answer = client.predict(customers=[ROW | {"customer_id": "a"}])
    wanted = started.client.predict([ROW | {"customer_id": "a"}])
    assert answer == msgspec.to_builtins(wanted)
    with pytest.raises(bentoml.exceptions.BentoMLException, match=r"schema\.json"):
        bentoml.SyncHTTPClient(started.client.url, token=TOKEN[::-1])


def test_its_workers_are_told_to_keep_to_themselves(started: Started) -> None:
    workers = started.process.children(recursive=True)
    assert workers
    for worker in workers:
        env = worker.environ()
        assert env["ORT_DISABLE_TELEMETRY"] == "1" and env["OTEL_SDK_DISABLED"] == "true"
        assert env["BENTOML_DO_NOT_TRACK"] == "True" and "SERVED_FILE" not in env


def test_no_usage_data_is_sent_although_the_command_line_looked_before(
    python: Path, unpacked: Path, tmp_path: Path
) -> None:
    code = """
from bentoml._internal.utils.analytics import usage_stats
print(usage_stats.do_not_track())
import serving.shipped
print(usage_stats.do_not_track())
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


def test_no_training_library_is_there(python: Path, started: Started) -> None:
    code = (
        "import sys; from importlib.util import find_spec; print(*filter(find_spec, sys.argv[1:]))"
    )
    done = subprocess.run([python, "-I", "-c", code, *TRAINING], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "", done
    for process in started.process.children(recursive=True):
        mapped = " ".join(entry.path for entry in process.memory_maps())
        assert not [name for name in TRAINING if f"/{name}/" in mapped]


def test_it_holds_what_it_runs_and_no_more(shipped: Shipped) -> None:
    source = shipped.built.folder / "src"
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    bundle = {f"bundle/{path.name}" for path in shipped.model.bundle.iterdir()}
    code = {path.as_posix() for path in package.shipped_files()}
    assert there == bundle | code | {FILE, "bentofile.yaml"}
    rooms = {path.split("/")[0] for path in code}
    assert rooms == {"common", "configs", "features", "ingestion", "registry", "serving"}
    assert not [path for path in code if path.startswith("configs/") and path.endswith("t.yaml")][
        1:
    ]
    for needed in (
        "features/sql/windows.sql",
        "serving/page/index.html",
        "serving/app.py",
    ):
        assert needed in code
    for foreign in ("serving/__main__.py", "configs/default.yaml", "serving/client.py"):
        assert foreign not in code


def test_nothing_of_this_machine_is_in_it(shipped: Shipped) -> None:
    here = {str(ROOT), str(shipped.settings.var), sys.prefix}
    for path in shipped.built.folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "ignore")
            assert not [place for place in here if place in text], path


def test_what_it_serves_is_written_beside_it(shipped: Shipped) -> None:
    source = shipped.built.folder / "src"
    served = read_served({"SERVED_FILE": str(source / FILE)})
    found = served.find()
    assert found is not None and found.bundle == source / "bundle"
    assert (found.name, found.version) == ("Test_Model", 3)
    assert found.bundle_sha256 == shipped.model.bundle_sha256
    assert served.tracking_uri is served.launcher is served.token_file is served.log_folder is None


def test_the_list_of_packages_is_what_the_shipped_modules_import() -> None:
    at_home = {path.parts[0] for path in package.shipped_files()}
    known, closure = packages_distributions(), package.installed()

    def imported(*, later: bool) -> set[str]:
        found = {
            name.split(".")[0]
            for _, tree in package.modules().values()
            for name in package.imported(tree, later=later)
        }
        return found - at_home - set(sys.stdlib_module_names)

    def of(name: str) -> set[str]:
        return {canonicalize_name(one) for one in known[name]} & set(closure)

    assert {name for name in imported(later=True) if not of(name)} == NEVER_CALLED
    assert {name for name in imported(later=False) if not of(name)} == set()
    used = {one for name in imported(later=True) for one in of(name)}
    assert set(package.DIRECT) - used == {"httptools", "uvloop"}


def test_imports_are_found_wherever_they_stand() -> None:
    tree = ast.parse("""
import a.b
from c import d
if TYPE_CHECKING:
    from never import x
try:
    import e
except ImportError:
    pass
def f():
    import g
    class H:
        from i import j
""")
    assert set(package.imported(tree)) == {"a.b", "c", "c.d", "e", "g", "i", "i.j"}
    assert set(package.imported(tree, later=False)) == {"a.b", "c", "c.d", "e"}


def test_every_package_is_pinned_once(shipped: Shipped) -> None:
    lines = (shipped.built.folder / "env" / "python" / "requirements.txt").read_text().split()
    assert sorted(lines) == sorted(f"{k}=={v}" for k, v in shipped.built.packages.items())
    locked = (ROOT / "requirements.lock").read_text()
    assert [line for line in lines if f"\n{line}" not in locked] == []


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="no-such-package"):
        package.installed(("no-such-package",))


def test_building_again_gives_the_same_in_the_same_place(shipped: Shipped) -> None:
    before = (shipped.built.folder / "env" / "python" / "requirements.txt").read_text()
    again = build(shipped.settings, shipped.model)
    assert (again.tag, again.file, again.folder) == (
        shipped.built.tag,
        shipped.built.file,
        shipped.built.folder,
    )
    assert (again.folder / "env" / "python" / "requirements.txt").read_text() == before
    assert [path.name for path in again.file.parent.iterdir()] == [again.file.name]


def test_bentomls_commands_know_it(shipped: Shipped, tmp_path: Path) -> None:
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
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    listed, got, built = (out for out, _ in said)
    assert tag in [one["tag"] for one in json.loads(listed)]
    assert json.loads(got)["labels"]["bundle"] == shipped.model.bundle_sha256[:12]
    assert built.strip() == "__tag__:test_model:mine"


def test_what_was_built_is_told(shipped: Shipped) -> None:
    said = report(shipped.built)
    assert shipped.built.tag == "test_model:v3" and shipped.built.file.name == "test_model-v3.bento"
    for text in ("test_model:v3", "test_model-v3.bento", "MB", "bentoml serve", "SERVING_TOKEN"):
        assert text in said


@pytest.mark.parametrize(
    ("name", "tag"),
    [("golden-path-smoke", "golden-path-smoke"), ("golden-path-My Shop!", "golden-path-my-shop")],
)
def test_a_models_name_becomes_a_tag(name: str, tag: str) -> None:
    assert tag_name(name) == tag and len(tag_name(name * 9)) <= 63


def test_an_altered_bundle_is_not_shipped(shipped: Shipped, tmp_path: Path) -> None:
    sha256 = make_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / MODEL).write_bytes(b"another")
    model = ModelVersion("other", 1, tmp_path / "bundle", sha256, "run")
    with pytest.raises(UserError, match="the model bundle is refused"):
        build(shipped.settings, model)
    assert not list(shipped.built.file.parent.glob("other*"))


def test_a_bundle_that_could_not_answer_is_not_packed(shipped: Shipped, tmp_path: Path) -> None:
    make_bundle(tmp_path / "whole")
    graph = (tmp_path / "whole" / MODEL).read_bytes()
    description = json.loads((tmp_path / "whole" / DESCRIPTION).read_text())
    fewer = description | {"features": description["features"][:-1]}
    sha256 = write_bundle(tmp_path / "bundle", graph, fewer)
    with pytest.raises(
        UserError, match=r"would not take the champion: .*its graph takes"
    ) as caught:
        build(shipped.settings, ModelVersion("other", 1, tmp_path / "bundle", sha256, "run"))
    assert "its graph takes" in Path(caught.value.where).read_text()
    assert not (shipped.built.home / "bentos" / "other").exists()
    assert not list(shipped.built.file.parent.glob("other*"))


def test_no_champion_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no champion yet"):
        the_champion(load("smoke", ["--var", str(tmp_path)]))


# --- the image ---------------------------------------------------------------------------------


def test_the_image_runs_as_nobody_special_from_a_slim_base(shipped: Shipped) -> None:
    lines = (shipped.built.folder / "env" / "docker" / "Dockerfile").read_text().splitlines()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert [line for line in lines if line.startswith("FROM ")] == [
        f"FROM python:{version}-slim AS base-container"
    ]
    assert [line for line in lines if line.startswith("USER ")] == ["USER bentoml"]
    after = lines[lines.index("USER bentoml") :]
    assert any(line.startswith("ENTRYPOINT") for line in after)
    assert not any(line.startswith("RUN") for line in after)
    text = "\n".join(lines)
    assert "apt-get" not in text and TOKEN not in text
    env = yaml.safe_load((shipped.built.folder / "bento.yaml").read_text())["envs"]
    assert {one["name"]: one["value"] for one in env}["BENTOML_DO_NOT_TRACK"] == "True"
    for name in ("BENTOML_DO_NOT_TRACK", "OTEL_SDK_DISABLED", "ORT_DISABLE_TELEMETRY"):
        assert f"ENV {name}=${name}" in lines


def engine(folder: Path, name: str, info: str) -> None:
    """A container engine's client, which writes down what it is asked for."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    asked = folder / f"{name}.asked"
    script.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nif [ "$1" = info ]; then {info}; fi\n')
    script.chmod(0o755)


def test_no_engine_is_one_message_with_all_that_was_tried(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(tmp_path, "docker", "echo Cannot connect to the daemon >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        find_engine(shipped.settings)
    for text in ("docker: `docker info` failed: Cannot connect to the daemon", "next:", "make"):
        assert text in str(caught.value)
    assert "podman: is not installed" in str(caught.value)


def test_the_command_ends_with_an_error_where_no_engine_answers(tmp_path: Path) -> None:
    engine(tmp_path / "bin", "docker", "exit 1")
    done = subprocess.run(
        [sys.executable, "-m", "serving.image", "--var", str(tmp_path / "var")],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: no container engine answers")
    assert not (tmp_path / "var" / "bento").exists()


def test_an_engine_that_answers_is_given_the_bento(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    engine(tmp_path, "docker", "exit 1")
    engine(tmp_path, "podman", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_engine(shipped.settings) == "podman"
    containerize(shipped.built, "podman")
    asked = (tmp_path / "podman.asked").read_text().splitlines()[-1]
    assert asked.startswith("build ") and f"--tag {shipped.built.tag}" in asked
    assert "Dockerfile" in asked
