"""One family, in a process of its own: `python -m training.fit job.json`.

Tunes on the validation split, fits the best parameters again on train and validation together, and
exports. Progress goes to standard output as JSON lines, everything else to standard error. The
output folder appears whole, at the end:

    model.onnx        the graph (see training/export.py)
    result.json       parameters, trials, metrics, seconds, versions
    test_native.npy   float64 (n,): the original model's probabilities for the rows of the test
                      split, to check the export with. The test labels are not read here.
"""

# Nothing heavy is imported at the top: the number of threads must be set before NumPy's and the
# families' libraries load, and XGBoost and PyTorch must not meet in one process.
from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

WITH_PARENT = "--with-parent"
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What to fit. Every field must be in the job file, and nothing else."""

    family: str
    table: str
    features: tuple[str, ...]
    seed: int
    threads: int
    trials: int
    seconds: float
    output: str


def read_job(path: Path) -> Job:
    """The job in this JSON file. Raises ValueError when fields are missing or unknown."""
    data = json.loads(path.read_text())
    wanted = {field.name for field in fields(Job)}
    if set(data) != wanted:
        raise ValueError(
            f"{path}: missing {sorted(wanted - set(data))}, unknown {sorted(set(data) - wanted)}"
        )
    return Job(**{**data, "features": tuple(data["features"])})


def fit_family(job: Job, emit: Emit) -> dict[str, Any]:
    """Tune, refit, export and write `job.output`; returns what result.json holds."""
    import numpy as np

    from features.table import read_rows
    from training.export import max_difference, run_onnx
    from training.families import load_family
    from training.tuning import tune

    table = Path(job.table)
    family = load_family(job.family)
    train = read_rows(table, ("train",), job.features)
    valid = read_rows(table, ("valid",), job.features)
    emit({"event": "stage", "name": "tuning", "train_rows": len(train), "valid_rows": len(valid)})
    tuned = tune(
        family,
        train,
        valid,
        trials=job.trials,
        seconds=job.seconds,
        seed=job.seed,
        threads=job.threads,
        on_trial=lambda result: emit({"event": "trial", **asdict(result)}),
    )

    emit({"event": "stage", "name": "refit"})
    started = time.perf_counter()
    both = read_rows(table, ("train", "valid"), job.features)
    model = family.fit(tuned.params, both, None, seed=job.seed, threads=job.threads)
    refit_seconds = time.perf_counter() - started

    emit({"event": "stage", "name": "export"})
    started = time.perf_counter()
    graph = family.to_onnx(model, len(job.features)).SerializeToString(deterministic=True)
    fitted = max_difference(family.predict(model, both.x), run_onnx(graph, both.x))
    test = read_rows(table, ("test",), job.features, label=False)
    native = family.predict(model, test.x)
    export_seconds = time.perf_counter() - started

    result = {
        "family": job.family,
        "params": model.params,
        "baseline": family.BASELINE,
        "valid_metrics": tuned.metrics,
        "best_trial": tuned.best_trial,
        "trials": [asdict(trial) for trial in tuned.trials],
        "ended_by": tuned.ended_by,
        "seconds": {
            "tuning": tuned.seconds,
            "refit": refit_seconds,
            "export": export_seconds,
        },
        "rows": {"train": len(train), "valid": len(valid), "refit": len(both)},
        "export_difference_on_fitted_rows": fitted,
        "seed": job.seed,
        "threads": job.threads,
        "versions": _versions(),
    }
    output = Path(job.output)
    aside = output.with_name(f".{output.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    (aside / "model.onnx").write_bytes(graph)
    (aside / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    np.save(aside / "test_native.npy", native)
    if output.exists():
        shutil.rmtree(output)
    aside.rename(output)
    return result


def main(arguments: list[str]) -> int:
    emit = _emitter()
    try:
        with_parent = arguments[1:] == [WITH_PARENT]
        if not arguments or not (with_parent or len(arguments) == 1):
            raise ValueError(f"usage: python -m training.fit job.json [{WITH_PARENT}]")
        job = read_job(Path(arguments[0]))
        if with_parent:
            _end_with_parent()
        _limit_threads(job.threads)
        result = fit_family(job, emit)
    except Exception as error:  # the parent shows one line, the log has the rest
        traceback.print_exc(file=sys.stderr)
        emit({"event": "error", "message": f"{type(error).__name__}: {error}"})
        return 1
    emit({"event": "done", "output": job.output, "valid_metrics": result["valid_metrics"]})
    return 0


def _emitter() -> Emit:
    """Writes JSON lines to what was standard output, and turns standard output itself, for Python
    and for C libraries alike, into standard error: exporters print to it."""
    lines = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return lambda event: print(json.dumps(event), file=lines, flush=True)


def _end_with_parent() -> None:
    """End when standard input closes: a parent that was killed must not leave a search running."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _limit_threads(threads: int) -> None:
    """Waiting threads sleep instead of spinning: without that, two families side by side on two
    cores take twenty times as long."""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _versions() -> dict[str, str]:
    """Versions of what decides the figures: another version may fit another model."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for package in ("numpy", "scikit-learn", "xgboost-cpu", "torch", "tabm", "optuna", "onnx"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
