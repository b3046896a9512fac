"""Exported networks give the scores of the network that was exported, in whatever they are written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config, export
from ffmpi.config.registries import RULES
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.data.pixels import PixelFormat
from ffmpi.data.scaling import PixelScaling
from ffmpi.errors import UserError
from ffmpi.export import description
from ffmpi.network.inference import Inference
from ffmpi.network.parameters import Parameters
from ffmpi.network.stages import every_block
from tests.helpers import scores_by_numpy

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:'torch.load':UserWarning")
SHAPE, NAMES = (4, 5), ("a", "b", "c")
METHODS = [(rule, method) for rule in RULES for method in config.parse("", "t", [f"rule.name={rule}"]).methods]
#: Settings that change what a network computes of an image, and the type of its pixels.
VARIANTS = {
    "plain": ((), "uint8"),
    "overlay, raw, measured": (
        ("data.label=overlay", "data.standardise=pixel", "head.normalise=false", "rule.goodness=mean"), "float32",
    ),
    "append, l2, two layers": (
        ("data.label=append", "network.normalise.name=l2", "network.layers=[17,9]", "head.bias=false"), "uint8",
    ),
    "no norm, some layers": (("network.normalise.name=none", "classify.goodness_layers=[1,2]"), "float32"),
    "one layer": (("network.layers=[17]", "data.label=overlay"), "uint8"),
}  # fmt: skip


def network(rule: str, *settings: str, pixels: str = "uint8") -> Inference:
    """Return a network whose parameters are all drawn, as if it had learnt."""
    rng = np.random.default_rng(len(rule))
    known = [one for one in settings if rule == "goodness" or not one.startswith(("rule.goodness", "classify.good"))]
    settled = config.parse("", "test", [f"rule.name={rule}", "network.layers=[17,9,12]", *known])
    measured = settled.data.standardise == "pixel"
    mean, std, square = rng.random(20) / 2, rng.random(20) + 0.5, np.array([25.0])
    scaling = PixelScaling(*(array.astype(np.float32) for array in (mean, std, square))) if measured else None
    dataset = DatasetInfo(SHAPE, NAMES, 10, 10, scaling=scaling, pixel_format=PixelFormat(pixels, 0.0, 255.0))
    settled = resolved(settled, dataset)
    blocks = {name: Parameters(block, learns=False) for name, block in every_block(settled, dataset).items()}
    for parameters in blocks.values():
        for array in parameters.block.arrays:
            if array.inference:
                drawn = rng.standard_normal(array.shape).astype(np.float32)
                parameters.set_array(array.name, np.abs(drawn) + 0.1 if array.nonnegative else drawn)
    if rule == "local-error":  # batch normalisation takes the place of the bias
        for layer in range(len(settled.network.layers)):
            blocks[f"layers/{layer}"].bias[:] = 0
    return Inference(settled, dataset, blocks)


def images(pixels: str, count: int = 7) -> np.ndarray:
    """Return images (count, 20)."""
    drawn = np.random.default_rng(count).integers(0, 256, (count, 20))
    return drawn.astype(np.uint8) if pixels == "uint8" else (drawn / 100).astype(np.float32)


def assert_alike(scores: np.ndarray, expected: np.ndarray) -> None:
    """Compare scores to the precision of sums in another order."""
    assert scores.shape == expected.shape and np.ptp(expected) > 0
    assert_allclose(scores, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("rule", "method"), METHODS)
def test_numpy_computes_the_scores_of_every_rule(rule: str, method: str, variant: str, tmp_path: Path) -> None:
    settings, pixels = VARIANTS[variant]
    trained = network(rule, *settings, pixels=pixels)
    export.write(trained, tmp_path / "out.npz", method)
    shown = images(pixels)
    assert_alike(scores_by_numpy(tmp_path / "out.npz", shown.reshape(-1, *SHAPE)), trained.scores(shown, method))


def test_hdf5_has_the_same_arrays(tmp_path: Path) -> None:
    trained, found = network("local-error"), dict[str, Any]()
    export.write(trained, tmp_path / "out.npz")
    written = export.write(trained, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    with np.load(tmp_path / "out.npz") as arrays:
        expected = dict(arrays)
    metadata = json.loads(found.pop("metadata"))
    assert metadata == json.loads(str(expected.pop("metadata")))
    assert metadata["classes"] == ["a", "b", "c"] and metadata["shape"] == [4, 5] and metadata["method"] == "last-layer"
    assert metadata["pixels"] == {"dtype": "uint8", "least": 0, "greatest": 255}
    assert metadata["config"]["rule"]["name"] == "local-error"
    assert found.keys() == expected.keys() == written.arrays().keys() and found["layers/3/weights"].shape == (9, 12)
    for name, array in found.items():
        assert array.dtype == np.float32
        assert_array_equal(array, expected[name])


SOME = [
    ("goodness", "softmax", "plain"),
    ("goodness", "softmax", "one layer"),
    ("goodness", "goodness", "overlay, raw, measured"),
    ("goodness", "goodness", "append, l2, two layers"),
    ("goodness", "goodness", "no norm, some layers"),
    ("local-error", "all-layers", "overlay, raw, measured"),
    ("class-groups", "last-layer", "plain"),
]


@pytest.mark.parametrize(("rule", "method", "variant"), SOME)
def test_pytorch_computes_the_same(rule: str, method: str, variant: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    settings, pixels = VARIANTS[variant]
    trained = network(rule, *settings, pixels=pixels)
    export.write(trained, tmp_path / "out.pt", method)
    module = torch.jit.load(tmp_path / "out.pt")
    assert module.classes == ["a", "b", "c"] and json.loads(module.metadata)["method"] == method
    for count in (1, 7):
        shown = images(pixels, count)
        scores = module(torch.tensor(shown.reshape(-1, *SHAPE))).numpy()
        assert_alike(scores, trained.scores(shown, method))
        assert_array_equal(module(torch.tensor(shown.astype(np.float32))), scores)


def test_a_module_of_pytorch_is_read_by_load_too_and_can_be_trained(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    trained = network("local-softmax")
    export.write(trained, tmp_path / "out.pt")
    module = torch.load(tmp_path / "out.pt", weights_only=False)
    shown, weight = torch.tensor(images("uint8")), dict(module.named_parameters())["layers.1.linear.weight"]
    assert weight.shape == (9, 17) and not module(shown).requires_grad
    weight.requires_grad_(True)
    module(shown)[:, 0].sum().backward()
    assert weight.grad.abs().max() > 0


@pytest.mark.parametrize(("rule", "method", "variant"), SOME)
def test_onnx_computes_the_same(rule: str, method: str, variant: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    settings, pixels = VARIANTS[variant]
    trained = network(rule, *settings, pixels=pixels)
    export.write(trained, tmp_path / "out.onnx", method)
    session = runtime.InferenceSession(tmp_path / "out.onnx")
    about = session.get_modelmeta()
    assert json.loads(about.custom_metadata_map["classes"]) == ["a", "b", "c"]
    assert json.loads(about.custom_metadata_map["metadata"])["method"] == method
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("scores", ["n", 3]), ("class", ["n"])]
    for count in (1, 7):
        shown = images(pixels, count)
        scores, classes = session.run(None, {"images": shown.reshape(-1, *SHAPE)})
        assert_alike(scores, trained.scores(shown, method))
        assert_array_equal(classes, scores.argmax(axis=1), strict=True)


def test_onnx_refuses_more_than_it_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from ffmpi.export import onnx

    monkeypatch.setattr(onnx, "_MOST", 1000)
    with pytest.raises(UserError, match=r"out\.onnx: .* GB of weights, of which ONNX holds 2; expected"):
        export.write(network("goodness"), tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "library"), [(".pt", "torch"), (".onnx", "onnx")])
def test_a_library_that_is_missing_is_named(
    suffix: str, library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"ffmpi.export.{export.FORMATS[suffix]}", raising=False)
    with pytest.raises(UserError, match=rf"needs {library}; expected it installed by pip install 'ffmpi\[export\]'"):
        export.write(network("goodness"), tmp_path / f"out{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained, place = network("goodness"), tmp_path / "out.npz"

    def refused(path: Path, method: str | None = None) -> str:
        with pytest.raises(UserError) as caught:
            export.write(trained, path, method)
        return str(caught.value)

    assert refused(tmp_path / "out.onxx").endswith(
        "out.onxx: a name that tells no format; expected one in .npz, .pt, .onnx, .h5; did you mean '.onnx'?"
    )
    assert refused(place, "all-layers") == "method 'all-layers': not this network's; expected 'softmax' or 'goodness'"
    (tmp_path / "dir.h5").mkdir()
    assert refused(tmp_path / "dir.h5").endswith("dir.h5: is a directory; expected the name of a file to write")
    assert "not/there/out.npz: cannot be written (No such file or directory)" in refused(Path("not/there/out.npz"))
    assert "out.h5: cannot be written" in refused(Path("not/there/out.h5"))
    place.write_text("mine")
    assert refused(place).endswith("out.npz: is there already; expected another name, or --force to replace it")
    assert place.read_text() == "mine"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left on device"):
        export.write(trained, place, force=True)
    assert place.read_text() == "mine" and {path.name for path in tmp_path.iterdir()} == {"out.npz", "dir.h5"}
    monkeypatch.undo()
    export.write(trained, place, force=True)
    with np.load(place) as arrays:
        assert "layers/1/weights" in arrays


def test_pixels_of_unknown_type_are_refused(tmp_path: Path) -> None:
    trained = network("goodness")
    unknown = Inference(trained.config, DatasetInfo(SHAPE, NAMES, 10, 10), trained.blocks)
    with pytest.raises(UserError, match="does not say whether its pixels are bytes or floats; expected one of this"):
        export.write(unknown, tmp_path / "out.npz")


def test_layers_above_those_that_classify_are_left_out() -> None:
    trained = network("goodness", "classify.goodness_layers=[1]")
    found = description.describe(trained.config, trained.dataset, trained.blocks, "goodness")
    assert len(found.layers) == 1 and found.layers[0].score
    assert len(description.describe(trained.config, trained.dataset, trained.blocks, "softmax").layers) == 3
