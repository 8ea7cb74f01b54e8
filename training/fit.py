"""One family, in a process of its own: `python -m training.fit job.json`.

Tunes over the validation dates, fits the best parameters again on train and validation together,
calibrates, and exports. Progress goes to standard output as JSON lines, everything else to standard
error. The output folder appears whole, at the end:

    model.onnx         the calibrated graph (see training/export.py); takes codes of categories
    result.json        parameters, trials, folds, metrics, seconds, versions
    test_native.npy    float64 (n,): calibrated probabilities of the original model, not of the
                       graph, for the rows of the test split. The test labels are not read here.
    test_raw.npy       the same before calibration
    valid_native.npy   float64 (n,): calibrated probabilities of the validation rows, each date by
                       the model of its fold, which learnt only from its past
    valid_raw.npy      the same before calibration
    contributions.npy  float32 (m, f + 1): what each feature adds to the log-odds of up to 2,000
                       test rows, and the bias; only of families that can say so
"""

# Nothing heavy is imported at the top: the number of threads must be set before NumPy's and the
# families' libraries load, and XGBoost and PyTorch must not meet in one process.
from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.parent import when_parent_ends

if TYPE_CHECKING:
    from features.table import Rows
    from training.folds import Fold
    from training.tuning import Runner, TrialResult

WITH_PARENT = "--with-parent"
EXPLAINED_ROWS = 2000
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What to fit. Every field must be in the job file, and nothing else.

    features, schema: names, and what the table knows of each, in the order of the columns.
    horizon_days: between a fold's training rows and its date.  calibration: the setting.
    season: names of the features that say the time of the year (`year_sin`, `year_cos`); the table
    may lack them.
    storage, password_variable, study: where the trials are kept (`training.studies.Place`).
    workers: processes on the search, this one included, each with `threads`.
    """

    family: str
    table: str
    features: tuple[str, ...]
    schema: tuple[dict[str, Any], ...]
    horizon_days: int
    calibration: str
    season: tuple[str, ...]
    seed: int
    threads: int
    workers: int
    trials: int
    seconds: float
    storage: str
    password_variable: str
    study: str
    output: str


def read_job(data: dict[str, Any]) -> Job:
    """Read a job from a JSON object. Raises ValueError when fields are missing or unknown."""
    names = {field.name for field in fields(Job)}
    if set(data) != names:
        raise ValueError(
            f"the job: missing {sorted(names - set(data))}, unknown {sorted(set(data) - names)}"
        )
    lists = {name: tuple(data[name]) for name in ("features", "schema", "season")}
    return Job(**{**data, **lists})


def fit_family(job: Job, emit: Emit) -> dict[str, Any]:
    """Tune, refit, calibrate, export and write `job.output`; returns what result.json holds."""
    import numpy as np

    from features.table import read_rows
    from training.calibration import fit_calibration, resolve, validate
    from training.export import collect, expand, max_difference, prefix, run_onnx, width
    from training.families import load_family
    from training.folds import join
    from training.studies import Place
    from training.tuning import tune
    from training.workers import helpers

    def on_trial(result: TrialResult, recalled: bool) -> None:
        emit({"event": "trial", **asdict(result), **({"recalled": True} if recalled else {})})

    table, family = Path(job.table), load_family(job.family)
    kind, season_columns = resolve(job.calibration, job.features, job.season)
    train, valid, folds = read_folds(job)
    emit({"event": "stage", "name": "tuning", "train_rows": len(train), "valid_rows": len(valid)})
    seeded: dict[str, Any] = {"seed": job.seed, "threads": job.threads}
    one_hot_folds = [one_hot_fold(fold, job) for fold in folds]
    with helpers(partial(make_runner, job), job.workers - 1) as beside:
        tuned = tune(
            family,
            one_hot_folds,
            trials=job.trials,
            seconds=job.seconds,
            place=Place(job.storage, job.study, job.password_variable),
            helpers=beside,
            on_trial=on_trial,
            **seeded,
        )

    emit({"event": "stage", "name": "refit"})
    started = time.perf_counter()
    validated = validate(family, tuned, folds, one_hot_folds, kind, season_columns, **seeded)
    both = join(train, valid)
    columns = one_hot(both, job)
    model = family.fit(tuned.params, columns, None, **seeded)
    fitted = family.predict(model, columns.x)
    calibration = fit_calibration(kind, fitted, both, validated.raw, valid, season_columns)
    refit_seconds = time.perf_counter() - started

    emit({"event": "stage", "name": "export"})
    started = time.perf_counter()
    with_categories = prefix(family.to_onnx(model, width(job.schema)), job.schema)
    graph = calibration.append(with_categories, len(job.features)).SerializeToString(
        deterministic=True
    )
    calibrated = calibration.apply(fitted, both.x)
    test = read_rows(table, ("test",), job.features, label=False)
    test_columns = expand(test.x, job.schema)
    test_raw = family.predict(model, test_columns)
    arrays = {
        "test_native": calibration.apply(test_raw, test.x),
        "test_raw": test_raw,
        "valid_native": validated.calibrated,
        "valid_raw": validated.raw,
    }
    if hasattr(family, "contributions"):
        n = len(test)
        rows = np.linspace(0, n - 1, min(n, EXPLAINED_ROWS)).astype(int)
        parts = family.contributions(model, test_columns[rows])
        arrays["contributions"] = collect(parts, job.schema).astype(np.float32)
    result = {
        "family": job.family,
        "params": model.params,
        "baseline": family.BASELINE,
        "valid_metrics": validated.metrics,
        "folds": validated.folds,
        "calibration": calibration.to_dict(),
        "best_trial": tuned.best_trial,
        "trials": [asdict(trial) for trial in tuned.trials],
        "ended_by": tuned.ended_by,
        "seconds": {
            "tuning": tuned.seconds,
            "refit": refit_seconds,
            "export": time.perf_counter() - started,
        },
        "rows": {"train": len(train), "valid": len(valid), "refit": len(both)},
        "export_difference_on_fitted_rows": max_difference(calibrated, run_onnx(graph, both.x)),
        "seed": job.seed,
        "threads": job.threads,
        "workers": job.workers,
        "versions": _versions(getattr(family, "PACKAGES", ())),
    }
    _write(Path(job.output), graph, result, arrays)
    return result


def make_runner(job: Job) -> Runner:
    """Make what runs trials of this job, in a helper of its search (`training/workers.py`)."""
    from training.families import load_family
    from training.folds import fit_folds

    one_hot_folds = [one_hot_fold(fold, job) for fold in read_folds(job)[2]]
    return partial(
        fit_folds, load_family(job.family), one_hot_folds, seed=job.seed, threads=job.threads
    )


def read_folds(job: Job) -> tuple[Rows, Rows, tuple[Fold, ...]]:
    """The rows of train and of validation, and the folds they make."""
    from features.table import read_rows
    from training.folds import make_folds

    train = read_rows(Path(job.table), ("train",), job.features)
    valid = read_rows(Path(job.table), ("valid",), job.features)
    return train, valid, make_folds(train, valid, job.horizon_days)


def one_hot_fold(fold: Fold, job: Job) -> Fold:
    """The fold with columns in place of categories, as families take it."""
    return replace(fold, train=one_hot(fold.train, job), valid=one_hot(fold.valid, job))


def one_hot(rows: Rows, job: Job) -> Rows:
    from training.export import expand

    return replace(rows, x=expand(rows.x, job.schema))


def _write(output: Path, graph: bytes, result: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write all files of the output folder, in place of what was there."""
    import numpy as np

    from common.files import atomic_folder

    with atomic_folder(output) as folder:
        (folder / "model.onnx").write_bytes(graph)
        (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)


def main(arguments: list[str]) -> int:
    emit = _emitter()
    place = Path(arguments[0] if arguments else ".").parent  # on the disk that is written to
    try:
        with_parent = arguments[1:] == [WITH_PARENT]
        if not arguments or not (with_parent or len(arguments) == 1):
            raise ValueError(f"usage: python -m training.fit job.json [{WITH_PARENT}]")
        job = read_job(json.loads(Path(arguments[0]).read_text()))
        if with_parent:
            when_parent_ends(partial(os._exit, 1))  # else a killed run would leave a search running
        _limit_threads(job.threads)
        result = fit_family(job, emit)
    except Exception as error:  # the parent shows one message, the log has the rest
        emit(
            {
                "event": "error",
                "message": f"{type(error).__name__}: {error}",
                **_error_fields(error, place),
            }
        )
        with suppress(OSError):  # the log may lie on a disk that is full
            traceback.print_exc(file=sys.stderr)
        return 1
    emit({"event": "done", "output": job.output, "valid_metrics": result["valid_metrics"]})
    return 0


def _error_fields(error: Exception, place: Path) -> dict[str, str]:
    """Return the fields of a UserError; none for other errors."""
    from common.errors import UserError
    from common.full_disk import full_disk

    shown = error if isinstance(error, UserError) else full_disk(error, place)
    if shown is None:
        return {}
    return {"what": shown.what, "where": shown.where, "next_step": shown.next_step}


def _emitter() -> Emit:
    """Writes JSON lines to what was standard output, and turns standard output itself, for Python
    and for C libraries alike, into standard error: exporters print to it."""
    lines = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return lambda event: print(json.dumps(event), file=lines, flush=True)


def _limit_threads(threads: int) -> None:
    """Waiting threads sleep instead of spinning: without that, two families side by side on two
    cores take twenty times as long."""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of what decides the figures: another version may fit another model."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": sys.version.split()[0]}
    for package in ("numpy", "scikit-learn", "optuna", "onnx", *packages):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
