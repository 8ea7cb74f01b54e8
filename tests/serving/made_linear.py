"""A small bundle whose every feature counts, without a training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from features.catalogue import CATALOGUE, Feature
from registry.bundle import write_bundle
from tests.serving.made_graphs import graph_of


def linear_graph(features: int, seed: int = 0, nan_above: float = 1e30) -> bytes:
    """probability = sigmoid(Σ wᵢ·log(1 + |xᵢ|)), a missing value counting as zero; NaN where the
    first feature is larger than `nan_above`."""
    weights = np.random.default_rng(seed).normal(0, 0.3, (features, 1))
    return graph_of(
        features,
        """missing = IsNaN(features)
        filled = Where(missing, zero, features)
        size = Abs(filled)
        positive = Add(size, one)
        small = Log(positive)
        score = MatMul(small, weights)
        column = Sigmoid(score)
        value = Gather<axis = 1>(filled, first)
        left = Sub(limit, value)
        real = Sqrt(left)
        nothing = Mul(real, zero)
        sum = Add(column, nothing)
        probability = Reshape(sum, flat)""",
        zero=np.array(np.float32(0)),
        one=np.array(np.float32(1)),
        weights=np.float32(weights - weights.mean()),  # probabilities around one half
        first=np.array([0]),
        limit=np.float32([nan_above]),
    )


def write_linear_bundle(
    folder: Path,
    features: tuple[Feature, ...] = CATALOGUE,
    seed: int = 0,
    threshold: float | None = 0.5,
    nan_above: float = 1e30,
    examples: bool = True,
    **described: Any,
) -> str:
    """A bundle of `linear_graph`; returns its SHA-256."""
    n = len(features)
    description = {
        "family": "linear",
        "threshold": threshold,
        "features": [asdict(feature) for feature in features],
        **described,
    }
    reference = np.random.default_rng(1).integers(0, 50, (9, n)).astype(float).tolist()
    rows = {"reference": reference, "samples": []} if examples else None
    return write_bundle(folder, linear_graph(n, seed, nan_above), description, examples=rows)
