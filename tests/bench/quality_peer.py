"""One AutoML tool on our training table: fits, and writes its probabilities of the test rows.

    PYTHON quality_peer.py JOB.json

Runs in the peers' environment (`tests/bench/quality_peers.txt`), so it imports nothing of the
project. The job: {peer, way, metric, seconds, seed, threads, folder, output}. `folder` holds
train.parquet and valid.parquet (features, `label`, and `fold`: the eighth of the customers that the
row's customer is in) and test.parquet (features only: the labels of the test rows are not handed
over). Writes `output`/p.npy, float64 (n_test,), and
`output`/facts.json.

The ways: `own` hands over all labelled rows and leaves the holdout to the tool; `dates` hands over
our validation dates as its validation rows, and refits on all rows where its interface allows;
`grouped` is AutoGluon's strongest: its preset best_quality on all labelled rows, with bagging folds
in which a customer's rows stay together.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

REFIT_SHARE = 0.15  # of the seconds, kept for AutoGluon's refit, which has no limit of its own


def autogluon(job, train, valid, test):
    from autogluon.tabular import TabularPredictor
    from pandas import concat

    grouped = job["way"] == "grouped"
    if not grouped:
        train, valid = train.drop(columns="fold"), valid.drop(columns="fold")
    predictor = TabularPredictor(
        label="label",
        eval_metric=job["metric"],
        path=str(Path(job["output"]) / "models"),
        verbosity=1,
        groups="fold" if grouped else None,
    )
    options = {"presets": "medium_quality", "num_cpus": job["threads"], "num_gpus": 0}
    if grouped:
        # Dynamic stacking would first spend a part of the time on finding out whether rows that
        # belong together mislead it; with groups they do not.
        options |= {"presets": "best_quality", "dynamic_stacking": False}
        predictor.fit(concat([train, valid]), time_limit=job["seconds"], **options)
    elif job["way"] == "own":
        predictor.fit(concat([train, valid]), time_limit=job["seconds"], **options)
    else:
        limit = job["seconds"] * (1 - REFIT_SHARE)
        predictor.fit(train, tuning_data=valid, time_limit=limit, **options)
        predictor.refit_full(model="best", set_best_to_refit_full=True)
    fitted = time.perf_counter()
    board = predictor.leaderboard(silent=True)
    facts = {"best": predictor.model_best, "models": len(board)}
    return predictor.predict_proba(test)[1].to_numpy("float64"), fitted, facts


def flaml(job, train, valid, test):
    from flaml import AutoML
    from pandas import concat

    options = {
        "task": "classification",
        "metric": job["metric"],
        "time_budget": job["seconds"],
        "n_jobs": job["threads"],
        "seed": job["seed"],
        "retrain_full": True,
        "verbose": 0,
    }
    train, valid = train.drop(columns="fold"), valid.drop(columns="fold")
    both = concat([train, valid])
    if job["way"] == "own":
        x, y = both.drop(columns="label"), both["label"]
    else:
        x, y = train.drop(columns="label"), train["label"]
        options |= {
            "X_val": valid.drop(columns="label"),
            "y_val": valid["label"],
            "eval_method": "holdout",
        }
    model = AutoML()
    model.fit(X_train=x, y_train=y, **options)
    fitted = time.perf_counter()
    facts = {"best": model.best_estimator, "models": len(model.config_history)}
    return model.predict_proba(test)[:, 1].astype("float64"), fitted, facts


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    import numpy as np
    import pandas as pd

    np.random.seed(job["seed"])
    rows = [
        pd.read_parquet(Path(job["folder"]) / f"{n}.parquet") for n in ("train", "valid", "test")
    ]
    assert "label" not in rows[2]
    fit, package = {
        "autogluon": (autogluon, "autogluon.tabular"),
        "flaml": (flaml, "flaml"),
    }[job["peer"]]
    __import__(package)  # loading the libraries is not counted, neither is it for us
    began = time.perf_counter()
    p, fitted, facts = fit(job, *rows)
    facts |= {"fit_seconds": fitted - began, "version": version(package)}
    np.save(Path(job["output"]) / "p.npy", p)
    (Path(job["output"]) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
