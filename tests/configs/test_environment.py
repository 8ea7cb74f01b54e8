"""What a command makes of the environment that it finds, and of the folder of its state."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from configs.command import run_command
from configs.environment import prepare, private
from configs.load import load

THEIRS = {
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "PREFECT_API_KEY": "theirs",
    "PREFECT_SERVER_API_AUTH_STRING": "me:theirs",
    "PREFECT_HOME": "/theirs",
    "PREFECT_PROFILES_PATH": "/theirs/profiles.toml",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "MLFLOW_REGISTRY_URI": "http://127.0.0.1:9",
    "MLFLOW_RUN_ID": "theirs",
    "MLFLOW_EXPERIMENT_NAME": "theirs",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "false",
    "BENTOML_CONFIG": "/theirs/bentoml.yaml",
    "UVICORN_PORT": "9",
    "PYTHONSAFEPATH": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5h://127.0.0.1:9",
}


@pytest.fixture
def environment(monkeypatch):
    """The environment of this process, which a test may change as a whole."""
    monkeypatch.setattr(os, "environ", copy := os.environ.copy())
    for name in [name for name in copy if name.lower().endswith("_proxy")]:
        del copy[name]
    copy |= THEIRS
    return copy


def test_servers_and_databases_are_those_of_the_project(environment, tmp_path):
    prepare(load("default", ["--var", str(tmp_path)], {}))
    left = {name: value for name, value in environment.items() if "theirs" in value.lower()}
    assert not left and not any(name in environment for name in ("UVICORN_PORT", "PYTHONSAFEPATH"))
    assert "PREFECT_API_URL" not in environment
    assert "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE" not in environment
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["NO_PROXY"] == environment["no_proxy"] == "*"


def test_a_setting_leads_to_another_api_with_the_key_of_the_environment(environment, tmp_path):
    url = "http://127.0.0.1:4201/api"
    prepare(load("default", ["--var", str(tmp_path), "--prefect.api_url", url], {}))
    assert environment["PREFECT_API_URL"] == url
    assert environment["PREFECT_API_KEY"] == "theirs"
    assert "PREFECT_SERVER_API_AUTH_STRING" not in environment
    assert "127.0.0.1" in environment["no_proxy"].split(",")


def test_a_setting_leads_to_an_mlflow_server_with_the_login_of_the_environment(
    environment, tmp_path
):
    url = "http://127.0.0.1:5001"
    login = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"}
    environment.update(login, MLFLOW_RUN_ID="theirs")
    prepare(load("default", ["--var", str(tmp_path), "--tracking.uri", url], {}))
    assert environment["MLFLOW_TRACKING_URI"] == url
    assert login.items() <= environment.items() and "MLFLOW_RUN_ID" not in environment
    assert "127.0.0.1" in environment["no_proxy"].split(",")
    prepare(load("default", ["--var", str(tmp_path)], {}))
    assert not login.keys() & environment.keys()


def test_variables_that_a_setting_names_stay(environment):
    environment["MLFLOW_SHOP"] = "ours"
    prepare(load("default", ["--source.database.password_variable", "MLFLOW_SHOP"], {}))
    assert environment["MLFLOW_SHOP"] == "ours"


def test_a_download_uses_the_proxy_of_this_machine(environment):
    environment["NO_PROXY"] = "intranet"
    prepare(load(env={}), network=True)
    assert environment["no_proxy"].startswith("intranet,127.0.0.1")
    assert environment["HTTP_PROXY"] == THEIRS["HTTP_PROXY"]


@pytest.mark.parametrize(
    "alerts",
    [
        ["--alerts.webhook", "json"],
        ["--alerts.smtp_host", "mail", "--alerts.mail_to", "me@example.com"],
    ],
)
def test_alerts_reach_other_machines_as_this_one_does(environment, tmp_path, alerts):
    environment |= {"NO_PROXY": "intranet", "SSL_CERT_DIR": str(tmp_path)}
    prepare(load("default", alerts, {}))
    assert environment["no_proxy"].startswith("intranet,127.0.0.1")
    assert environment["SSL_CERT_DIR"] == str(tmp_path)


def test_a_process_that_prefect_started_keeps_what_it_was_given(environment):
    prepare(load(env={}), in_prefect=True)
    assert environment["PREFECT_API_URL"] == THEIRS["PREFECT_API_URL"]
    assert "MLFLOW_RUN_ID" not in environment


def test_certificates_that_are_not_there_are_not_looked_for(environment, tmp_path):
    environment |= {"SSL_CERT_FILE": "/nowhere/ca.pem", "SSL_CERT_DIR": str(tmp_path)}
    prepare(load(env={}), network=True)
    assert "SSL_CERT_FILE" not in environment and environment["SSL_CERT_DIR"] == str(tmp_path)
    prepare(load(env={}))
    assert "SSL_CERT_DIR" not in environment, "loopback needs none"


@pytest.mark.parametrize("home", [None, "", "/nowhere"])
def test_without_a_home_there_is_one_under_var(environment, tmp_path, home, monkeypatch):
    import pwd

    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as a container's user has none
    environment.pop("HOME", None)
    if home is not None:
        environment["HOME"] = home
    prepare(load("default", ["--var", str(tmp_path)], {}))
    assert Path.home() == tmp_path / "home"


def test_packages_in_a_folder_with_a_per_cent_are_imported_through_another(
    environment, tmp_path, monkeypatch
):
    packages = tmp_path / "100% mine" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "installed.py").touch()
    monkeypatch.setattr(sysconfig, "get_path", {"purelib": str(packages)}.__getitem__)
    monkeypatch.setattr(sys, "path", ["", str(packages)])
    prepare(load("default", ["--var", str(tmp_path)], {}))
    assert sys.path[0] == "" and (Path(sys.path[1]) / "installed.py").exists()
    assert "%" not in sys.path[1] and environment["PYTHONPATH"].startswith(sys.path[1])


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_var_is_for_its_owner_alone(tmp_path, umask):
    old = os.umask(umask)
    try:
        with private(tmp_path / "a" / "new" if umask != 0o777 else tmp_path / "new") as _:
            made = next(iter(tmp_path.rglob("new")))
            assert made.stat().st_mode & 0o777 == 0o700
            (made / "kept").touch()
    finally:
        os.umask(old)
    made.chmod(0o755)
    with private(made):
        assert made.stat().st_mode & 0o777 == 0o700
    assert (made / "kept").exists()


def test_a_folder_that_is_not_for_the_state_alone_keeps_its_mode(tmp_path, monkeypatch):
    for mode, folder in ((0o1777, "tmp"), (0o755, "project")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder).chmod(mode)
        monkeypatch.chdir(tmp_path / folder)
        with private(Path() if folder == "project" else tmp_path / folder):
            assert (tmp_path / folder).stat().st_mode & 0o7777 == mode


def test_a_command_that_leaves_nothing_leaves_no_folder(tmp_path, environment):
    def body(_: object) -> None:
        assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700

    assert run_command("m", "", body, ["--var", str(tmp_path / "var")]) == 0
    assert not (tmp_path / "var").exists()


def test_a_narrow_encoding_does_not_stop_a_command(tmp_path):
    say = "import sys; from configs.command import run_command\n"
    say += "sys.exit(run_command('m', '', lambda s: print('caf\\u00e9 \\u2026'), ['--seed=1']))"
    done = subprocess.run(
        [sys.executable, "-c", say],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "GOLDEN_PATH_VAR": str(tmp_path)},
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (0, b"caf\\xe9 \\u2026\n"), done.stderr
