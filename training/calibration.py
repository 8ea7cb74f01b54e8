"""Probabilities that mean what they say: a monotone step behind the model, inside the graph.

A model trained on the months before predicts too low in autumn: as-of dates of a season are few
among the training rows, and shrunken learners (trees above all) do not follow their level to the
end. `season` gives back what was left over: for every as-of date of the training rows the one
offset, in log-odds, that makes the model's mean prediction the observed share (calibration in the
large; Steyerberg 2019, Clinical Prediction Models, chapter 15), and for a new date the mean of the
offsets of the same season, weighted by a von Mises kernel on the circle of the year (Nadaraya 1964;
Watson 1964). `platt` is for tables without dates (Platt 1999): slope and intercept on predictions
of rows that the model has not seen. What the figures said: `docs/model-comparison.md`.

`validate` judges a family's best trial on the validation rows: each date by a model of its past,
calibrated. Calibration is part of what is judged, so it is never judged on rows that it was fitted
on: `season` is fitted on the fold's own training rows, `platt` on the predictions of the other
folds, and where there is one fold, on its other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from common.statistics import EDGE
from training.folds import draw_parts, join, of_fold, take
from training.metrics import point

if TYPE_CHECKING:
    import onnx

    from features.table import Rows
    from training.families import Family
    from training.folds import Fold
    from training.tuning import Tuned

CONCENTRATION = 30.0  # of the kernel: a date a month away has a fiftieth of the weight
FAR = float(np.cos(np.pi / 4))  # a season further than 45 days from all dates: no offset
PRIOR = 0.5  # standard deviation of an offset before its rows are seen
PARTS = 5  # of the rows of a single fold


@dataclass(frozen=True)
class Calibration:
    """logit' = slope x logit + intercept + offset of the season.

    anchors: (sine, cosine, offset) of each as-of date.  columns: where the sine and the cosine of
    the time of the year stand among the features. Both are empty but for `season`.
    """

    kind: str
    slope: float = 1.0
    intercept: float = 0.0
    anchors: tuple[tuple[float, float, float], ...] = ()
    columns: tuple[int, ...] = ()

    def apply(self, p: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Calibrated probabilities float64 (n,) of p (n,) for raw features float32 (n, f)."""
        if self.kind == "none":
            return p
        z = self.slope * _logit(p) + self.intercept
        if self.anchors:
            directions, bias, offsets = self._kernel()
            score = x[:, self.columns].astype(np.float64) @ directions + bias
            weight = np.exp(score - score.max(axis=1, keepdims=True))
            z = z + weight @ offsets / weight.sum(axis=1)
        return _sigmoid(z)

    def append(self, graph: onnx.ModelProto, n_features: int) -> onnx.ModelProto:
        """The graph with this step behind its output (see `training/export.py`)."""
        from onnx import helper, numpy_helper

        from training.export import INPUT, OUTPUT, seal

        if self.kind == "none":
            return graph
        model = type(graph)()
        model.CopyFrom(graph)
        for node in model.graph.node:
            node.output[:] = ["uncalibrated" if name == OUTPUT else name for name in node.output]
            node.input[:] = ["uncalibrated" if name == OUTPUT else name for name in node.input]
        values: dict[str, Any] = {
            "edge": EDGE,
            "other_edge": 1 - EDGE,
            "unit": 1.0,
            "slope": self.slope,
            "intercept": self.intercept,
        }
        steps = [
            ("Max", ["uncalibrated", "cal.edge"], "cal.low"),
            ("Min", ["cal.low", "cal.other_edge"], "cal.p"),
            ("Sub", ["cal.unit", "cal.p"], "cal.q"),
            ("Div", ["cal.p", "cal.q"], "cal.odds"),
            ("Log", ["cal.odds"], "cal.logit"),
            ("Mul", ["cal.logit", "cal.slope"], "cal.scaled"),
            ("Add", ["cal.scaled", "cal.intercept"], "cal.z"),
        ]
        last = "cal.z"
        if self.anchors:
            directions, bias, offsets = self._kernel()
            values |= {"directions": directions, "bias": bias, "offsets": offsets}
            values["columns"] = np.array(self.columns, dtype=np.int64)
            steps += [
                ("Gather", [INPUT, "cal.columns"], "cal.season"),
                ("MatMul", ["cal.season", "cal.directions"], "cal.closeness"),
                ("Add", ["cal.closeness", "cal.bias"], "cal.score"),
                ("Softmax", ["cal.score"], "cal.weight"),
                ("MatMul", ["cal.weight", "cal.offsets"], "cal.offset"),
                ("Add", ["cal.z", "cal.offset"], "cal.shifted"),
            ]
            last = "cal.shifted"
        steps.append(("Sigmoid", [last], OUTPUT))
        for kind, inputs, output in steps:
            extra: dict[str, Any] = {"axis": 1} if kind in ("Gather", "Softmax") else {}
            model.graph.node.append(helper.make_node(kind, inputs, [output], **extra))
        for name, value in values.items():
            array = np.asarray(value, dtype=np.int64 if name == "columns" else np.float32)
            model.graph.initializer.append(numpy_helper.from_array(array, f"cal.{name}"))
        return seal(model, n_features)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _kernel(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Directions (2, k + 1), biases and offsets (k + 1,); the last stands for no date near."""
        anchors = np.array(self.anchors, dtype=np.float64)
        directions = np.column_stack([CONCENTRATION * anchors[:, :2].T, np.zeros(2)])
        bias = np.r_[np.zeros(len(anchors)), CONCENTRATION * FAR]
        return directions, bias, np.r_[anchors[:, 2], 0.0]


def resolve(
    setting: str, names: Sequence[str], season: Sequence[str]
) -> tuple[str, tuple[int, ...]]:
    """Give the kind, `season`, `platt` or `none`, and the columns that `season` reads.

    setting: auto means season where the table knows the time of the year.  names: of the features.
    season: the two that say it as a sine and a cosine (`features/catalogue.py`). Raises ValueError
    for `season` without them.
    """
    missing = [name for name in season if name not in names]
    known = bool(season) and not missing
    kind = ("season" if known else "platt") if setting == "auto" else setting
    if kind == "season" and not known:
        raise ValueError(
            "calibration by season needs the feature "
            + (missing[0] if missing else "of the time of the year")
        )
    return kind, tuple(list(names).index(name) for name in season) if known else ()


def fit_calibration(
    kind: str,
    p_train: np.ndarray,
    train: Rows,
    p_valid: np.ndarray,
    valid: Rows,
    season: Sequence[int],
) -> Calibration:
    """The calibration of a model.

    p_train: its probabilities (n,) on the rows it was fitted on: `season` looks at their mean per
    date, which no flexible learner can overfit as it does the ranking.  p_valid: probabilities of
    rows that their model had not seen: `platt` looks only at these.  season: the columns of the
    time of the year (`resolve`).
    """
    assert train.y is not None and valid.y is not None
    if kind == "none":
        return Calibration(kind)
    if kind == "platt":
        slope, intercept = _platt(_logit(p_valid), valid.y)
        return Calibration(kind, slope, intercept)
    z, anchors = _logit(p_train), []
    for day in np.unique(train.as_of):
        rows = train.as_of == day
        place = train.x[rows][0][list(season)].astype(float)
        anchors.append((float(place[0]), float(place[1]), _offset(z[rows], train.y[rows])))
    return Calibration(kind, anchors=tuple(anchors), columns=tuple(season))


# --- a family on validation, with its calibration ------------------------------------------------


@dataclass(frozen=True)
class Validated:
    """raw, calibrated: probabilities float64 (n,) of all validation rows, in their order.
    folds: JSON values, oldest first.  metrics: means over the folds, after calibration."""

    raw: np.ndarray
    calibrated: np.ndarray
    folds: list[dict[str, Any]]
    metrics: dict[str, float]


def validate(
    family: Family,
    tuned: Tuned,
    folds: Sequence[Fold],
    numeric: Sequence[Fold],
    kind: str,
    season: Sequence[int],
    *,
    seed: int,
    threads: int,
) -> Validated:
    """Predict, calibrate and judge every fold. `numeric` are the folds as the family takes them.

    The models that the search kept are used; after a resume, or when a helper fitted them, they are
    fitted again with the rounds that they had found, which makes the same models.
    """
    models = tuned.models or [
        family.fit(
            of_fold(tuned.fold_params, tuned.suggested, position),
            fold.train,
            None,
            seed=seed,
            threads=threads,
        )
        for position, fold in enumerate(numeric)
    ]
    raw = [family.predict(model, fold.valid.x) for model, fold in zip(models, numeric)]
    calibrated: list[np.ndarray] = []
    entries: list[dict[str, Any]] = []
    for position, fold in enumerate(folds):
        if kind == "season":
            fitted = family.predict(models[position], numeric[position].train.x)
            step = fit_calibration(kind, fitted, fold.train, raw[position], fold.valid, season)
            calibrated.append(step.apply(raw[position], fold.valid.x))
        elif len(folds) > 1:
            step = _of_the_others(kind, raw, folds, position, season)
            calibrated.append(step.apply(raw[position], fold.valid.x))
        else:
            calibrated.append(_crossed(kind, raw[position], fold.valid, season, seed))
        assert fold.valid.y is not None
        entries.append(
            {
                "as_of": str(fold.as_of) if fold.as_of else None,
                "train_rows": len(fold.train),
                "rows": len(fold.valid),
                "metrics": point(fold.valid.y, calibrated[-1]),
                "metrics_raw": point(fold.valid.y, raw[position]),
            }
        )
    return Validated(
        raw=_in_order(raw, folds),
        calibrated=_in_order(calibrated, folds),
        folds=entries[::-1],
        metrics={
            name: fmean(entry["metrics"][name] for entry in entries)
            for name in entries[0]["metrics"]
        },
    )


def _of_the_others(
    kind: str, raw: list[np.ndarray], folds: Sequence[Fold], position: int, season: Sequence[int]
) -> Calibration:
    others = [at for at in range(len(folds)) if at != position]
    p = np.concatenate([raw[at] for at in others])
    rows = reduce(join, [folds[at].valid for at in others])
    return fit_calibration(kind, p, rows, p, rows, season)


def _crossed(kind: str, p: np.ndarray, rows: Rows, season: Sequence[int], seed: int) -> np.ndarray:
    """The only fold of a table without dates: each fifth calibrated by the other four, so that the
    family that needs calibration most does not look best for having seen the answers."""
    parts, result = draw_parts(rows, PARTS, seed), np.empty(len(p))
    for part in range(PARTS):
        inside = parts == part
        others = take(rows, ~inside)
        step = fit_calibration(kind, p[~inside], others, p[~inside], others, season)
        result[inside] = step.apply(p[inside], rows.x[inside])
    return result


def _in_order(parts: list[np.ndarray], folds: Sequence[Fold]) -> np.ndarray:
    whole = np.empty(sum(len(part) for part in parts))
    for part, fold in zip(parts, folds):
        whole[fold.place] = part
    return whole


def _offset(z: np.ndarray, y: np.ndarray) -> float:
    """The shift of log-odds z (n,) that labels (n,) ask for: the mode under a normal prior, so that
    a date with few rows, or of one class, moves little. Newton's method on a concave sum."""
    shift = 0.0
    for _ in range(100):
        p = _sigmoid(z + shift)
        slope = np.sum(y - p) - shift / PRIOR**2
        step = slope / (np.sum(p * (1 - p)) + 1 / PRIOR**2)
        shift += float(np.clip(step, -1, 1))
        if abs(step) < 1e-10:
            break
    return shift


def _platt(z: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept with Platt's smoothed targets; a slope below 0 would turn the ranking
    around, which is not a calibration: then nothing is changed."""
    from sklearn.linear_model import LogisticRegression

    positives, n = float(y.sum()), len(y)
    high, low = (positives + 1) / (positives + 2), 1 / (n - positives + 2)
    target = np.where(y == 1, high, low)
    both = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.r_[z, z][:, None], np.r_[np.ones(n), np.zeros(n)], np.r_[target, 1 - target]
    )
    slope, intercept = float(both.coef_[0, 0]), float(both.intercept_[0])
    return (slope, intercept) if slope > 0 else (1.0, 0.0)


def _logit(p: np.ndarray) -> np.ndarray:
    safe = np.clip(np.asarray(p, dtype=np.float64), EDGE, 1 - EDGE)
    return np.log(safe / (1 - safe))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))
