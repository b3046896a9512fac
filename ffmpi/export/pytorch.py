"""PyTorch: a TorchScript module, which `torch.jit.load` opens where there is no ffmpi.

PyTorch would rather have `torch.export`, but only the version that wrote such a file is sure to read it.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from . import description
from .description import Network


def _squares(v: Tensor) -> Tensor:
    return (v * v).sum(dim=-1, keepdim=True)


def _divided(v: Tensor, divisor: float, epsilon: float, squares: Tensor | None = None) -> Tensor:
    """Return rows divided by their norm, from sums of squares that may be those of others; without a divisor as is."""
    if divisor == 0:
        return v
    if squares is None:
        squares = _squares(v)
    return v / (torch.sqrt(squares / divisor) + epsilon)


def _linear(weights: np.ndarray, bias: np.ndarray) -> nn.Linear:
    made = nn.Linear(*weights.shape, device="meta")
    made.weight = nn.Parameter(torch.tensor(weights.T).contiguous(), requires_grad=False)
    made.bias = nn.Parameter(torch.tensor(bias), requires_grad=False)
    return made


class _Score(nn.Module):
    def __init__(self, score: description.Score) -> None:
        super().__init__()
        self.linear, self.power = _linear(score.weights, score.bias), float(score.power)
        self.divisor, self.epsilon = map(float, score.norm or (0, 0))

    def forward(self, v: Tensor) -> Tensor:
        return self.linear(_divided(v, self.divisor, self.epsilon) ** self.power)


class _Layer(nn.Module):
    def __init__(self, layer: description.Layer) -> None:
        super().__init__()
        self.linear, self.negative_slope = _linear(layer.weights, layer.bias), layer.negative_slope
        self.divisor, self.epsilon = map(float, layer.norm or (0, 0))
        self.score = _Score(layer.score) if layer.score else None

    def activated(self, product: Tensor, squares: Tensor) -> Tensor:
        """Return the activations from the products of rows, not yet divided by their norm, with the weights."""
        z = _divided(product, self.divisor, self.epsilon, squares) + self.linear.bias
        return functional.leaky_relu(z, self.negative_slope)

    def forward(self, v: Tensor) -> Tensor:
        return self.activated(v @ self.linear.weight.T, _squares(v))


class _Module(nn.Module):
    """Scores (n, classes) float32 of images (n, *shape), pixels as the network was trained on, of any type.

    Attributes
    ----------
    classes : their names
    metadata : what else is known, as JSON
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.classes, self.metadata = list(network.classes), json.dumps(network.metadata())
        for name, array in (("slope", network.slope), ("offset", network.offset), ("labels", network.labels)):
            self.register_buffer(name, torch.tensor(array))
        self.layers = nn.ModuleList(map(_Layer, network.layers))

    def forward(self, images: Tensor) -> Tensor:
        v = images.to(self.slope.dtype).flatten(1) * self.slope + self.offset
        scores = torch.zeros(1, dtype=v.dtype, device=v.device)
        for index, layer in enumerate(self.layers):
            if index == 0:
                # An image's products are the same for each label that it is shown with.
                weights, squares = layer.linear.weight, _squares(v).unsqueeze(1) + _squares(self.labels)
                product = (v @ weights[:, : v.shape[1]].T).unsqueeze(1) + self.labels @ weights.T
                v = layer.activated(product.flatten(0, 1), squares.flatten(0, 1))
            else:
                v = layer(v)
            if layer.score is not None:
                scores = scores + layer.score(v)
        return scores.reshape(len(images), len(self.classes))


def write(network: Network, path: Path) -> None:
    """Write `network`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.script(_Module(network).eval())
        with open(path, "wb") as file:  # a path would become the name of the archive inside
            torch.jit.save(module, file)
