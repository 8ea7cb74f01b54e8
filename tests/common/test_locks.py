"""Locks between processes: who has one, who waits, and what a killed holder leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from common.locks import Busy, file_lock, folder_lock

HOLD = "import sys; from pathlib import Path; from common.locks import file_lock\n"
HOLD += "with file_lock(Path(sys.argv[1]), 'train'): print('holds', flush=True); sys.stdin.read()"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path / "lock"`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_whoever_finds_it_taken_learns_by_whom_and_a_killed_holder_leaves_it_free(tmp_path, holder):
    with pytest.raises(Busy) as found, folder_lock(tmp_path, "score"):
        pass
    assert f"another command works in this folder: train, process {holder.pid}" in found.value.what
    assert found.value.where == str(tmp_path)
    begun = time.monotonic()
    late = file_lock(tmp_path / "lock", wait=0.3, busy="it takes too long")
    with pytest.raises(Busy, match="too long: train"), late:
        pass
    assert time.monotonic() - begun >= 0.3
    holder.kill()
    holder.wait()
    with folder_lock(tmp_path, "score"):
        assert (tmp_path / "lock").read_text() == f"score, process {os.getpid()}"
        with pytest.raises(Busy, match="score, process"), folder_lock(tmp_path, "train"):
            pass
    with file_lock(tmp_path / "lock", wait=None):
        pass
    assert (tmp_path / "lock").read_text() == ""


def test_it_is_free_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError), file_lock(tmp_path / "made" / "lock"):
            raise ValueError
