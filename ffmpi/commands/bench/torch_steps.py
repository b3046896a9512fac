"""A layer's step in PyTorch, three ways; imports torch, so only import it where torch is."""

from __future__ import annotations

import numpy as np
import torch

from .steps import BETA1, BETA2, EPS, RATE

#: Mean of squares at which a row is undecided. Near it no coefficient is denormal, which would slow PyTorch down.
THRESHOLD = 0.5


class AutogradStep:
    """What a user of PyTorch writes: the goodness loss (first half of the rows positive), backward, Adam."""

    def __init__(self, a: np.ndarray, w: np.ndarray, *, fused: bool = False, rate: float = RATE) -> None:
        self.a = torch.from_numpy(a)
        self.layer = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            self.layer.weight.copy_(torch.from_numpy(w).T)
            self.layer.bias.zero_()
        self.sign = torch.where(torch.arange(len(a)) < len(a) // 2, 1.0, -1.0)
        self.adam = _adam(list(self.layer.parameters()), rate, fused=fused)

    def forward(self) -> None:
        """Product, bias, ReLU and row goodness, with the graph for the way back."""
        self.total = torch.relu(self.layer(self.a)).square().mean(dim=1)

    def update(self, active: np.ndarray) -> None:
        """Loss over the active rows, backward and Adam; rows that are not active cost autograd the same."""
        total, sign = self.total, self.sign
        if len(active) < len(total):
            index = torch.from_numpy(active)
            total, sign = total[index], sign[index]
        self.adam.zero_grad()
        torch.nn.functional.softplus(-sign * (total - THRESHOLD)).mean().backward()
        self.adam.step()

    def weights(self) -> np.ndarray:
        """Return the weights, (inputs, units)."""
        return self.layer.weight.detach().T.numpy()


class HandStep:
    """The best that we know to do in PyTorch: no autograd, arrays made once, the gradient in place, fused Adam."""

    def __init__(self, a: np.ndarray, w: np.ndarray, c: np.ndarray, *, rate: float = RATE) -> None:
        self.a, self.c = torch.from_numpy(a), torch.from_numpy(c)
        self.w = torch.from_numpy(w).clone().requires_grad_()
        self.bias = torch.zeros(w.shape[1], requires_grad=True)
        self.w.grad, self.bias.grad = torch.zeros_like(self.w), torch.zeros_like(self.bias)
        self.h, self.squares = (torch.empty(len(a), w.shape[1]) for _ in range(2))
        self.ca, self.total = torch.empty_like(self.a), torch.empty(len(a))
        self.adam = _adam([self.w, self.bias], rate, fused=True)

    @torch.no_grad()
    def forward(self) -> None:
        """Product, bias, ReLU and row goodness."""
        torch.addmm(self.bias, self.a, self.w, out=self.h).relu_()
        torch.mul(self.h, self.h, out=self.squares)
        torch.sum(self.squares, dim=1, out=self.total)

    @torch.no_grad()
    def update(self, active: np.ndarray) -> None:
        """Product and Adam."""
        a, h, c = self.a, self.h, self.c
        if len(active) < len(a):
            index = torch.from_numpy(active)
            a, h, c = a[index], h[index], c[index]
        ca = torch.mul(a, c[:, None], out=self.ca[: len(a)])
        torch.mm(ca.T, h, out=self.w.grad)
        torch.mv(h.T, c, out=self.bias.grad)
        self.adam.step()

    def weights(self) -> np.ndarray:
        """Return the weights."""
        return self.w.detach().numpy()


def _adam(parameters: list[torch.Tensor], rate: float, *, fused: bool) -> torch.optim.Adam:
    # fused=None is PyTorch's default, which is the slower one on a processor.
    return torch.optim.Adam(parameters, lr=rate, betas=(BETA1, BETA2), eps=EPS, fused=fused or None)
