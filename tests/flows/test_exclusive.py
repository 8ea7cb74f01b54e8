"""Two commands never work on one data set at once, be they on one host or on two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import UserError
from common.locks import Busy, folder_lock
from configs.load import load
from flows.exclusive import exclusive, is_shared, key_of, one_host

ROOT = Path(__file__).parents[2]
# Holds the lock until its input ends, as another host would: it does not look at var/lock.
HOLD = """
import sys
from configs.load import load
from flows.exclusive import one_host
settings = load("smoke", sys.argv[1:], {})
with one_host(settings, "operate"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_command_on_the_same_folder_is_busy(tmp_path):
    settings = load("smoke", ["--var", str(tmp_path)], {})
    with (
        folder_lock(tmp_path, "train"),
        pytest.raises(Busy, match="works in this folder: train, process"),
        exclusive(settings, "operate"),
    ):
        pass


@pytest.mark.parametrize(
    ("url", "shared"),
    [
        *(
            (f"{kind}://me@db/x", True)
            for kind in ("postgresql", "postgresql+psycopg2", "postgres")
        ),
        *((url, False) for url in ("sqlite:///x.db", "mysql://me@db/x")),
    ],
)
def test_only_a_storage_that_hosts_can_share_is_asked(url, shared):
    assert is_shared(url) is shared


def test_the_lock_belongs_to_the_data_set_and_the_folder():
    def key(config, seed, folder):
        return key_of(load(config, ["--seed", str(seed), "--var", folder], {}))

    here = key("smoke", 1, "/a")
    assert here == key("smoke", 1, "/a") and -(2**63) <= here < 2**63
    others = {key("smoke", 2, "/a"), key("smoke", 1, "/a/x"), key("online_retail", 1, "/a")}
    assert len({here, *others}) == 4


@pytest.fixture(scope="module")
def database():
    import postgres

    with postgres.server() as server:
        yield server


@pytest.fixture
def options(database, tmp_path, monkeypatch) -> list[str]:
    import postgres

    monkeypatch.setenv("OPTUNA_PASSWORD", postgres.PASSWORD)
    return ["--var", str(tmp_path / "var"), "--tuning.storage", database.url]


@contextmanager
def holder(options: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_free(settings) -> None:
    for _ in range(100):
        try:
            with one_host(settings, "operate"):
                return
        except Busy:
            time.sleep(0.1)
    raise AssertionError("the lock is still held")


@pytest.mark.slow
def test_another_host_is_refused_until_the_command_there_is_gone(options, tmp_path):
    settings = load("smoke", options, {})
    with holder(options) as process:
        with pytest.raises(Busy) as refused, exclusive(settings, "operate"):
            pass
        assert f"operate on {os.uname().nodename[:30]}, process {process.pid}" in refused.value.what
        other = load("smoke", [*options, "--var", str(tmp_path / "other")], {})
        with exclusive(other, "operate"):  # another folder is other state
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until_free(settings)
    for _ in range(2):  # released at the end, too
        with exclusive(settings, "operate"):
            pass


@pytest.mark.slow
def test_a_command_takes_the_lock_again_when_its_session_was_ended(database, options):
    with holder(options) as process:
        with database.connect() as admin:
            held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
            (first,) = admin.execute(held).fetchall()
            assert admin.execute("SELECT pg_terminate_backend(%s)", first).fetchone() == (True,)
            for _ in range(300):
                now = admin.execute(held).fetchall()
                if now and first not in now:  # the session that was ended may hold it a moment more
                    break
                time.sleep(0.1)
        settings = load("smoke", options, {})
        with pytest.raises(Busy), one_host(settings, "operate"):
            pass
        assert process.poll() is None


@pytest.mark.slow
def test_a_command_ends_when_another_host_has_taken_its_lock(database, options):
    settings = load("smoke", options, {})
    with holder(options) as process, database.connect() as other:
        # In one statement: nobody can come between.
        other.execute(
            "SELECT pg_terminate_backend(pid), pg_sleep(1) FROM pg_locks"
            " WHERE locktype = 'advisory'"
        )
        other.execute("SELECT pg_advisory_lock(%s)", [key_of(settings)])
        assert process.stderr is not None
        assert process.wait(60) == 1
        assert "another command works on the same data set" in process.stderr.read()


@pytest.mark.slow
def test_no_command_begins_without_the_database_and_no_message_holds_the_password(
    database, options, monkeypatch
):
    settings = load("smoke", options, {})
    monkeypatch.setenv("OPTUNA_PASSWORD", "wrong-s3cret")
    with pytest.raises(UserError) as refused, exclusive(settings, "operate"):
        pass
    assert refused.value.where.startswith("tuning.storage = postgresql://")
    assert "authentication failed" in str(refused.value)
    assert "wrong-s3cret" not in str(refused.value)
    with folder_lock(settings.var, "score"):  # the folder's lock was let go
        pass
