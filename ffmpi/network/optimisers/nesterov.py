"""Stochastic gradient descent with Nesterov's momentum."""

from __future__ import annotations

from typing import ClassVar

from ... import kernels
from .sgd import Sgd


class Nesterov(Sgd, frozen=True, kw_only=True, tag="nesterov"):
    """Gradient descent that looks ahead: along momentum m + (1 - momentum) g, with sgd's m after its step.

    As Sutskever et al. have it (ICML 2013), and PyTorch's SGD at learning rate (1 - momentum) times this one.
    """

    kind: ClassVar[int] = kernels.NESTEROV
