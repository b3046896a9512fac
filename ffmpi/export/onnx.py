"""ONNX: a graph from `images` to `scores` and `class`, of operators that every runtime has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .. import __version__
from ..errors import UserError
from .description import Network, Norm, Score

_OPSET, _IR = 17, 8  # of 2022
_FLOAT = TensorProto.FLOAT
#: Bytes that a file may have: Protocol Buffers count them with 31 bits, and the graph needs some beside the arrays.
_MOST = 2**31 - 2**20


class _Graph:
    """Nodes and constants as they are added; tensors are known by their names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        """Add an array, and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def shape(self, name: str, width: int) -> str:
        """Add the shape of any number of rows of `width`, and return its name."""
        return self.constant(name, np.array([-1, width]))

    def number(self, name: str, value: float) -> str:
        """Add a number, and return its name."""
        return self.constant(name, np.array(value, np.float32))

    def add(self, operator: str, *inputs: str, name: str, **attributes: int | float | list[int]) -> str:
        """Add a node, and return the name of its output, which is its own."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def squares(self, rows: str, name: str) -> str:
        """Return the sums of squares of `rows`, (n, 1)."""
        return self.add("ReduceSumSquare", rows, name=f"{name}/squares", axes=[1], keepdims=1)

    def divided(self, rows: str, squares: str, norm: Norm | None, name: str) -> str:
        """Return `rows` with these sums of squares divided by their norm, if there is one."""
        if norm is None:
            return rows
        mean = self.add("Div", squares, self.number(f"{name}/divisor", norm.divisor), name=f"{name}/mean")
        root = self.add("Sqrt", mean, name=f"{name}/root")
        length = self.add("Add", root, self.number(f"{name}/epsilon", norm.epsilon), name=f"{name}/norm")
        return self.add("Div", rows, length, name=f"{name}/divided")


def write(network: Network, path: Path) -> None:
    """Write `network`."""
    size = sum(array.nbytes for array in network.arrays().values())
    if size > _MOST:
        raise UserError(
            f"{path.with_suffix('')}: {size / 2**30:.1f} GB of weights, of which ONNX holds 2; expected another suffix"
        )
    model = _model(network)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _model(network: Network) -> onnx.ModelProto:
    pixel = helper.np_dtype_to_tensor_dtype(np.dtype(network.pixels.dtype))
    images = helper.make_tensor_value_info("images", pixel, ["n", *network.shape])
    scores = helper.make_tensor_value_info("scores", _FLOAT, ["n", len(network.classes)])
    classes = helper.make_tensor_value_info("class", TensorProto.INT64, ["n"])
    graph = _Graph()
    _fill(graph, network)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "ffmpi", [images], [scores, classes], graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="ffmpi",
        producer_version=__version__,
    )  # fmt: skip
    helper.set_model_props(model, {"classes": json.dumps(network.classes), "metadata": json.dumps(network.metadata())})
    return model


def _fill(graph: _Graph, network: Network) -> None:
    """Add what leads from `images` to `scores` and `class`."""
    pixels = graph.add("Cast", graph.add("Flatten", "images", name="pixels", axis=1), name="floats", to=_FLOAT)
    scaled = graph.add("Mul", pixels, graph.constant("inputs/slope", network.slope), name="scaled")
    inputs = graph.add("Add", scaled, graph.constant("inputs/offset", network.offset), name="inputs")
    product, squares = _first(graph, network, inputs)
    total = ""
    for number, layer in enumerate(network.layers, 1):
        name = f"layers/{number}"
        z = graph.divided(product, squares, layer.norm, name)
        z = graph.add("Add", z, graph.constant(f"{name}/bias", layer.bias), name=f"{name}/sum")
        if layer.negative_slope:
            v = graph.add("LeakyRelu", z, name=f"{name}/activations", alpha=layer.negative_slope)
        else:
            v = graph.add("Relu", z, name=f"{name}/activations")
        squares = graph.squares(v, name)
        if layer.score:
            own = _score(graph, layer.score, v, squares, f"scores/{number}")
            total = graph.add("Add", total, own, name=f"scores/{number}/so_far") if total else own
        if number < len(network.layers):
            weights = graph.constant(f"layers/{number + 1}/weights", network.layers[number].weights)
            product = graph.add("MatMul", v, weights, name=f"layers/{number + 1}/product")
    graph.add("Reshape", total, graph.shape("scores/shape", len(network.classes)), name="scores")
    graph.add("ArgMax", "scores", name="class", axis=1, keepdims=0)


def _first(graph: _Graph, network: Network, inputs: str) -> tuple[str, str]:
    """Return the products of layer 1, and the sums of squares of its input, for each row that shows an image.

    An image's products are computed once for all labels that it is shown with.
    """
    weights, labels, pixels = network.layers[0].weights, network.labels, len(network.slope)
    of_labels = graph.constant("labels/products", labels @ weights)
    image = graph.add("MatMul", inputs, graph.constant("layers/1/weights", weights[:pixels]), name="layers/1/image")
    image = graph.add("Unsqueeze", image, graph.constant("axis", np.array([1])), name="layers/1/each_image")
    product = graph.add("Add", image, of_labels, name="layers/1/labelled")
    of_label = graph.constant("labels/squares", (labels**2).sum(axis=1))
    squares = graph.add("Add", graph.squares(inputs, "inputs"), of_label, name="inputs/labelled_squares")
    return (
        graph.add("Reshape", product, graph.shape("layers/1/shape", weights.shape[1]), name="layers/1/product"),
        graph.add("Reshape", squares, graph.shape("inputs/squares_shape", 1), name="inputs/each_squares"),
    )


def _score(graph: _Graph, score: Score, v: str, squares: str, name: str) -> str:
    """Return what a layer adds to the scores of its rows `v`."""
    v = graph.divided(v, squares, score.norm, name)
    for _ in range(score.power - 1):
        v = graph.add("Mul", v, v, name=f"{name}/squared")
    product = graph.add("MatMul", v, graph.constant(f"{name}/weights", score.weights), name=f"{name}/product")
    return graph.add("Add", product, graph.constant(f"{name}/bias", score.bias), name=f"{name}/sum")
