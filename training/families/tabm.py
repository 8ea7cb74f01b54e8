"""TabM (Gorishniy et al. 2025, ICLR, arXiv:2410.24210): k small networks that share most weights.

Values enter as signed logarithms, standardised, clipped to what training saw, through
piecewise-linear embeddings (Gorishniy et al. 2022, arXiv:2203.05556); a missing value enters as the
mean, with an indicator. Each member is trained on its own loss; their mean probability is the
answer. Everything from raw values on is inside the network, so it is inside the export too.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import tabm
import torch
from rtdl_num_embeddings import PiecewiseLinearEmbeddings
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    import onnx
    import optuna

    from features.table import Rows
    from training.families import Params, Report

PACKAGES = ("torch", "tabm")
MAX_EPOCHS = 8
MAX_ROWS = 200_000  # rows seen in so many epochs; a small table may be seen more often, up to
MOST_EPOCHS = 32
PATIENCE = 2  # epochs without a validation figure that is better by
LEAST_GAIN = 1e-4
MEMBERS = 8
EMBEDDING = 4  # numbers an embedded value has
BLOCKS = 1  # a second one costs half as much again and gained nothing on 37,000 rows
BATCH = 512
STEPS = 25  # least steps an epoch: a small table is cut into smaller batches, of 32 rows at least
# The answer is given by a moving average of the weights over the last hundred or so steps (after
# Polyak & Juditsky 1992). From one epoch to the next the validation ROC AUC of the weights
# themselves jumps by .004, and early stopping picks a lucky jump; that of the average climbs
# smoothly. It looks back less far in the beginning, or it would lag behind for several epochs.
DECAY = 0.99
Tensors = tuple[Tensor, ...] | list[Tensor]
# Narrower bins turn the rounding of a float32 into a difference that shows in the probability.
NARROWEST_BIN = 0.01  # standard deviations

# The package's defaults scaled to one CPU thread: 8 members of 32, one block of 32 units of two of
# 512; learning rate .002 at a batch of 256, so .004 at 512.
BASELINE: Params = {
    "learning_rate": 0.004,
    "weight_decay": 3e-4,
    "dropout": 0.1,
    "width": 32,
    "bins": 24,
}


@dataclass(frozen=True)
class Model:
    """`params["epochs"]` is the number of epochs the network was trained for."""

    params: Params
    network: Network


def suggest(trial: optuna.Trial) -> Params:
    """The paper's space, cut to what trains in seconds on one CPU thread."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 2e-3, 1.2e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.2, step=0.1),
        "width": trial.suggest_int("width", 16, 48, step=16),
        "bins": trial.suggest_int("bins", 16, 32, step=8),
    }


class Network(nn.Module):
    """Raw features float32 (n, f), NaN where missing, to member logits (n, k)."""

    low: Tensor
    high: Tensor
    centre: Tensor
    scale: Tensor
    gaps: Tensor

    def __init__(self, params: Params, x: np.ndarray) -> None:
        super().__init__()
        z = np.sign(x) * np.log1p(np.abs(x)).astype(np.float64)
        known = [column[~np.isnan(column)] for column in z.T]
        known = [column if len(column) else np.zeros(1) for column in known]
        centre = np.array([column.mean() for column in known])
        scale = np.array([column.std() if np.ptp(column) else 1.0 for column in known])
        for name, values in {
            "centre": centre,
            "scale": scale,
            "low": [column.min() for column in known],
            "high": [column.max() for column in known],
        }.items():
            self.register_buffer(name, torch.tensor(np.array(values), dtype=torch.float32))
        gaps = np.flatnonzero(np.isnan(x).any(axis=0))
        self.register_buffer("gaps", torch.from_numpy(gaps))
        bins = [
            _bins((column - middle) / width, params["bins"])
            for column, middle, width in zip(known, centre, scale, strict=True)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a column of 0 and 1 has a single bin, as it should
            self.embeddings = PiecewiseLinearEmbeddings(
                bins, EMBEDDING, activation=False, version="B"
            )
        # The values of one embedding start with one common random scale.
        chunks = [EMBEDDING] * x.shape[1] + [1] * len(gaps)
        # Put together from blocks: TabM.make specialises on the batch size when exported.
        self.backbone = tabm.MLPBackboneBatchEnsemble(
            d_in=sum(chunks),
            n_blocks=BLOCKS,
            d_block=params["width"],
            dropout=params["dropout"],
            k=MEMBERS,
            tabm_init=True,
            scaling_init="normal",
            start_scaling_init_chunks=chunks,
        )
        self.output = tabm.LinearEnsemble(params["width"], 1, k=MEMBERS)

    def forward(self, x: Tensor) -> Tensor:
        missing = torch.isnan(x)
        z = torch.sign(x) * torch.log1p(torch.abs(x))
        z = (torch.clamp(z, self.low, self.high) - self.centre) / self.scale
        embedded = self.embeddings(torch.where(missing, 0.0, z)).flatten(1)
        indicators = missing[:, self.gaps].to(embedded.dtype)
        (first, *rest), *blocks = self.backbone.blocks
        hidden = _first_layer(first, torch.cat([embedded, indicators], dim=1))
        for layer in (*rest, *blocks):
            hidden = layer(hidden)
        return self.output(hidden).squeeze(-1)


def _first_layer(layer: tabm.LinearBatchEnsemble, x: Tensor) -> Tensor:
    """`layer` applied to k equal views of x (n, d), giving (n, k, width).

    The members' scalings r go to the weights, (x r) W' = x (W r)', instead of to k copies of x:
    the same numbers in a sixth less time an epoch.
    """
    weight = (layer.r[:, None, :] * layer.weight).flatten(0, 1)
    return (x @ weight.T).unflatten(1, (MEMBERS, -1)) * layer.s + layer.bias


class _Probability(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.network(features)).mean(dim=1)


def fit(
    params: Params,
    train: Rows,
    valid: Rows | None,
    *,
    seed: int,
    threads: int,
    report: Report | None = None,
) -> Model:
    """See `Family.fit`. Repeats exactly for the same seed and number of threads."""
    from common.statistics import recalibrated_log_loss

    assert train.y is not None
    if valid is None and "epochs" not in params:
        raise ValueError("params['epochs'] is missing: a fit without validation rows needs it")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    network = Network(params, train.x)
    # In memory and sliced by hand: a DataLoader takes half as long again on a table.
    x, y = torch.from_numpy(train.x), torch.from_numpy(train.y.astype(np.float32))
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=params["learning_rate"],
        weight_decay=params["weight_decay"],
        fused=True,
    )
    average = AveragedModel(network, multi_avg_fn=_average)
    answering = cast(Network, average.module)
    best, best_epoch, best_state = float("inf"), 0, None
    most = max(MAX_EPOCHS, min(MOST_EPOCHS, MAX_ROWS // len(x)))
    for epoch in range(1, (params["epochs"] if valid is None else most) + 1):
        _train_epoch(network, average, optimizer, x, y)
        if valid is None:
            continue
        assert valid.y is not None
        value = recalibrated_log_loss(valid.y, _probabilities(answering, valid.x))
        if report:
            report(epoch, value)
        if value < best - LEAST_GAIN:
            best, best_epoch = value, epoch
            best_state = copy.deepcopy(answering.state_dict())
        elif epoch - best_epoch >= PATIENCE:
            break
    if best_state is not None:
        answering.load_state_dict(best_state)
        params = {**params, "epochs": best_epoch}
    return Model(dict(params), answering.eval())


def predict(model: Model, x: np.ndarray) -> np.ndarray:
    """See `Family.predict`."""
    return _probabilities(model.network, x)


def to_onnx(model: Model, n_features: int) -> onnx.ModelProto:
    """See `Family.to_onnx`."""
    from training.export import INPUT, OPSET, OUTPUT, seal

    program = torch.onnx.export(
        _Probability(model.network).eval(),
        (torch.zeros(2, n_features),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        # Said aloud, so that a batch size baked into the graph is an error and not a surprise.
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
    assert program is not None
    return seal(program.model_proto, n_features)


def _bins(z: np.ndarray, count: int) -> Tensor:
    """Edges of at most `count` bins of equal count, none narrower than NARROWEST_BIN."""
    edges = [float(z.min())]
    for edge in np.unique(np.quantile(z, np.linspace(0, 1, count + 1))):
        if edge - edges[-1] >= NARROWEST_BIN:
            edges.append(float(edge))
    return torch.tensor(edges if len(edges) > 1 else [edges[0], edges[0] + 1.0])


def _train_epoch(
    network: Network, average: AveragedModel, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> None:
    network.train()
    for rows in torch.randperm(len(x)).split(max(32, min(BATCH, len(x) // STEPS))):
        logits = network(x[rows])
        # The mean over members of each one's loss: the loss of the mean would let them lean on
        # each other, and the ensemble would be one network.
        loss = nn.functional.binary_cross_entropy_with_logits(
            logits, y[rows, None].expand_as(logits)
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)


def _average(averages: Tensors, weights: Tensors, steps: int | Tensor) -> None:
    """One step of the moving average, in place: what `AveragedModel` calls after each batch."""
    decay = min(DECAY, (1 + int(steps)) / (10 + int(steps)))
    torch._foreach_lerp_(averages, weights, 1 - decay)


def _probabilities(network: Network, x: np.ndarray) -> np.ndarray:
    network.eval()
    with torch.inference_mode():
        parts = [
            torch.sigmoid(network(part)).mean(dim=1) for part in torch.from_numpy(x).split(4096)
        ]
        return torch.cat(parts).double().numpy()
