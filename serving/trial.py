"""A bundle is tried in a process of its own, with bounds, before a worker opens it.

A graph may loop for ever or grow to gigabytes, when it is opened or when it is asked for an answer,
and what runs in ONNX Runtime cannot be ended from outside its thread. So `open_champion` runs in a
child process first. What passed, or was refused, is kept by SHA-256 in a folder that the launcher
and all workers of one service share: each bundle is tried once.

    python -m serving.trial        reads a Trial from its input, writes a Verdict
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from common.errors import UserError
from common.locks import Busy, file_lock
from registry.bundle import BundleRefused
from registry.champion import ModelVersion
from serving.served import VARIABLES, Served

ROOT = Path(__file__).resolve().parents[1]
SLACK = 6  # seconds on the clock for each second of computing: the machine may be busy
LONGEST = 1000  # characters of a reason
WAIT_SECONDS = 0.2  # for the trial of another process, before this one looks whether it ends
# Of a process with a bound on its memory: Arrow's own allocator takes a gigabyte of address space
# at once, which RLIMIT_DATA would count.
OWN = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
NO_MEMORY = ("Failed to allocate memory", "bad allocation", "bad_alloc")


class Trial(msgspec.Struct, frozen=True):
    """What the child process is to open, and its bounds."""

    served: Served
    version: int
    folder: str
    bundle_sha256: str
    parent: int  # process id: the child ends when it is gone


class Verdict(msgspec.Struct, frozen=True):
    """reason: `time`, `memory`, `bundle` or `failed`; none where it has passed."""

    reason: str = ""
    what: str = ""
    where: str = ""
    next_step: str = ""


class TrialFailed(UserError):
    """The bundle did not pass."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.what, where=verdict.where, next_step=verdict.next_step)
        self.reason = verdict.reason


class Trials:
    """The trials of one process."""

    def __init__(self, served: Served, launcher: bool = False) -> None:
        """launcher: when this one is closed, the whole service ends."""
        self._served, self._launcher, self._closed = served, launcher, False
        self._child: subprocess.Popen[bytes] | None = None

    def check(self, version: ModelVersion, *, again: bool = False) -> None:
        """Raises TrialFailed. again: although it has been refused before."""
        with self._lock():
            kept = self._kept(version)
            verdict = None if kept is None else _read(kept)
            if verdict is None or (verdict.reason and again):
                verdict = self._run(version)
                # Workers that wait for the verdict of the launcher need no trial to end with it.
                if kept is not None and (not self._closed or self._launcher):
                    with suppress(OSError):  # a full disk says nothing about the bundle
                        kept.write_bytes(msgspec.json.encode(verdict))
        if verdict.reason:
            raise TrialFailed(verdict)

    def forget(self) -> None:
        """Remove all verdicts: another version of the code or of a library may give others."""
        if self._served.trials_folder is not None:
            shutil.rmtree(self._served.trials_folder, ignore_errors=True)
            Path(self._served.trials_folder).mkdir(parents=True)

    def close(self) -> None:
        """End the trial under way, which is refused then."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()

    def _kept(self, version: ModelVersion) -> Path | None:
        """Where its verdict is kept, if anywhere."""
        name = hashlib.sha256(f"{version.version} {version.bundle_sha256}".encode()).hexdigest()
        folder = self._served.trials_folder
        return Path(folder, f"{name}.json") if folder else None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One trial at a time in a service: several would need their memory at once."""
        folder = self._served.trials_folder
        with ExitStack() as stack:
            while folder is not None and not self._closed:
                lock = file_lock(Path(folder, "lock"), "a trial", wait=WAIT_SECONDS)
                with suppress(Busy):
                    stack.enter_context(lock)
                    break
            yield

    def _run(self, version: ModelVersion) -> Verdict:
        served = self._served
        folder, sha256 = str(version.bundle), version.bundle_sha256
        trial = Trial(served, version.version, folder, sha256, os.getpid())
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._child = child = subprocess.Popen(
            [sys.executable, "-m", "serving.trial"],
            cwd=ROOT,
            env=VARIABLES | os.environ | OWN | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the launcher alone
        )
        late = False
        try:
            if self._closed:  # meanwhile
                child.kill()
            try:
                written, _ = child.communicate(
                    msgspec.json.encode(trial), timeout=SLACK * served.opening_seconds
                )
            except subprocess.TimeoutExpired:
                late, written = True, b""
        finally:
            child.kill()
            child.wait()
            self._child = None
        if self._closed:
            return Verdict("failed", "the service is ending")
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(written, type=Verdict)
        return _ended(served, version, child.returncode, late)


def check_version(trials: Trials, version: ModelVersion) -> None:
    """Raises UserError, for the command line, for a version that cannot be served."""
    try:
        trials.check(version)
    except UserError as error:
        what = f"version {version.version} cannot be served: {error.what}"
        raise UserError(what, where=error.where, next_step=error.next_step) from None


def _read(file: Path) -> Verdict | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Verdict)
    except (OSError, msgspec.DecodeError):
        return None


def _ended(served: Served, version: ModelVersion, code: int, late: bool) -> Verdict:
    """The verdict on a process that ended without one."""
    if late or code == -signal.SIGXCPU:
        return _too_slow(served, str(version.bundle))
    if code == -signal.SIGKILL:
        return _too_large(served, str(version.bundle))
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    what = f"the process that tried to open it ended with {how}"
    return Verdict("failed", what, str(version.bundle), "train again (make train)")


def _too_slow(served: Served, where: str) -> Verdict:
    seconds = f"{served.opening_seconds:g} seconds"
    what = f"opening it and scoring its own examples takes more than {seconds}"
    return Verdict("time", what, where, "train again, or raise serving.opening_seconds")


def _too_large(served: Served, where: str) -> Verdict:
    size = f"{served.opening_megabytes:,} MB"
    what = f"opening it and scoring its own examples takes more than {size} of memory"
    return Verdict("memory", what, where, "train again, or raise serving.opening_megabytes")


# --- in the child process ------------------------------------------------------------------------


def _try(trial: Trial) -> Verdict:
    import onnx  # noqa: F401  (what is needed anyway comes before the bounds)
    import onnxruntime

    from serving import transactions  # noqa: F401
    from serving.limits import Limits
    from serving.opening import open_champion

    served, folder = trial.served, Path(trial.folder)
    version = ModelVersion(served.name, trial.version, folder, trial.bundle_sha256, run_id="")
    limits = Limits(served.max_rows, served.max_lines, served.max_explained)
    onnxruntime.set_default_logger_severity(4)  # the verdict says it, in one line
    _bound(served)
    try:
        open_champion(version, limits)
    except Exception as error:  # a bundle can be wrong in ways that no list holds
        if _of_memory(error):
            return _too_large(served, trial.folder)
        if isinstance(error, UserError):
            reason = "bundle" if isinstance(error, BundleRefused) else "failed"
            return Verdict(reason, error.what[:LONGEST], error.where, error.next_step)
        what = f"{type(error).__name__}: {error}"[:LONGEST]
        return Verdict("failed", what, trial.folder, "train again (make train)")
    return Verdict()


def _bound(served: Served) -> None:
    """Bound the computing time and the memory that this process uses from here on."""
    seconds = int(time.process_time() + served.opening_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    bound_memory(served.opening_megabytes)


def bound_memory(megabytes: int) -> None:
    """From here on this process may have so much memory more, and is the first to go when the
    machine has none.

    RLIMIT_DATA counts memory that can be written to; RLIMIT_AS would count what libraries reserve
    and never use, which is many times as much.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text("1000")  # rather this than the service
    with suppress(OSError):  # of a system without /proc
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        size = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY):
            return True
        error = error.__cause__
    return False


def main() -> None:
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    threading.Thread(target=_end_with, args=[trial.parent], daemon=True).start()
    verdict = _try(trial)
    sys.stdout.buffer.write(msgspec.json.encode(verdict))
    sys.stdout.buffer.flush()
    os._exit(0)  # what the bundle left behind is not tidied up


if __name__ == "__main__":
    main()
