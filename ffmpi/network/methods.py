"""The ways to classify: which stream of test rows each reads, and how often it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """One way to tell a sample's class.

    stream : of the test samples: neutral rows for the head (``softmax``), rows with every class (``goodness``), or
        images without labels (``plain``)
    adds : whose scores are added up: those of the head's blocks, those of the layers that the rule names in
        `score_layers`, or the last layer's alone
    every : the field of the table `classify` that says after how many chapters it is measured
    """

    name: str
    stream: str
    adds: Literal["head", "layers", "last"]
    every: str = "softmax_every"


METHODS = {
    method.name: method
    for method in (
        Method("softmax", "softmax", "head"),
        Method("goodness", "goodness", "layers", "goodness_every"),
        Method("last-layer", "plain", "last"),
        Method("all-layers", "plain", "layers"),
    )
}

#: Their order where there is a number for each.
METHOD_NAMES = tuple(METHODS)
