"""Ctrl-C, and a run that is killed while it ends by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from common.interrupt import CODE, MESSAGE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Python imports a module of this name when it starts. Here it sends the signal at the first import
# of what every command needs.
SENDS = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background

class Sends:
    def find_spec(self, name, path=None, target=None):
        if name in ("common.errors", "configs.settings"):
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Sends())
"""


@pytest.mark.parametrize(
    "module", ["flows.commands.train", "flows.operate", "serving", "serving.predict"]
)
def test_ctrl_c_during_the_imports_of_a_command_is_one_line(module, tmp_path):
    """The package of a command takes care of it, before it imports anything."""
    (tmp_path / "sitecustomize.py").write_text(SENDS)
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (CODE, "", MESSAGE)


ENDING = """
import os, signal, subprocess, sys, time
from flows import stopping

stopping.end_on_signals()
stopping.before_the_end(lambda: os.kill(os.getpid(), signal.SIGKILL))
command = [sys.executable, "-c", "import time; time.sleep(600)", "training.fit"]
print(subprocess.Popen(command, start_new_session=True).pid, flush=True)
time.sleep(600)
"""


def test_no_family_is_left_where_the_run_is_killed_while_it_ends():
    run = subprocess.Popen([sys.executable, "-c", ENDING], cwd=ROOT, stdout=subprocess.PIPE)
    assert run.stdout is not None
    family = psutil.Process(int(run.stdout.readline()))
    run.terminate()
    assert run.wait(60) == -signal.SIGKILL
    _, left = psutil.wait_procs([family], timeout=20)
    assert left == []
