"""What is measured on pixels, and the inputs and labels that follow."""

from __future__ import annotations

import numpy as np
import pytest

from ffmpi import config
from ffmpi.config.schema import Config
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.data.scaling import PixelScaling, combined, moments, scaling_of, slope_and_offset


def own(*settings: str) -> Config:
    return config.parse("", "run.toml", ["data.name=hdf5", *settings])


def pictures(dtype: str = "f4", samples: int = 40, pixels: int = 7) -> np.ndarray:
    rng = np.random.default_rng(0)
    images = rng.normal(3, 50, (samples, pixels)) * np.arange(1, pixels + 1)
    return images.astype(dtype) if dtype == "f4" else rng.integers(0, 256, (samples, pixels)).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("standardise", ["set", "pixel"])
def test_inputs_have_mean_0_and_deviation_1(dtype: str, standardise: str) -> None:
    images = pictures(dtype)
    scaling = scaling_of(own(f"data.standardise={standardise}"), [moments(images)])
    assert scaling is not None
    slope, offset = slope_and_offset(own(), scaling, images)
    inputs = slope * images.astype(np.float64) + offset
    axis = 0 if standardise == "pixel" else None
    np.testing.assert_allclose(inputs.mean(axis=axis), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=axis), 1, rtol=1e-5)
    np.testing.assert_allclose(scaling.square[0], (inputs**2).sum(axis=1).mean(), rtol=1e-5)


def test_moments_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures()
    whole, parts = moments(images), combined([moments(images[:1]), moments(images[1:30]), moments(images[30:])])
    np.testing.assert_allclose(whole.mean, images.mean(axis=0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(whole.squares, images.var(axis=0, dtype=float) * len(images), rtol=1e-12)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.squares, whole.squares, rtol=1e-12)
    monkeypatch.setattr("ffmpi.data.scaling._CHUNK", 20)  # pixels, three at a time
    np.testing.assert_allclose(moments(images).squares, whole.squares, rtol=1e-12)


def test_pixels_that_hardly_vary_are_not_blown_up() -> None:
    images = pictures()
    images[:, 2] = 1
    images[0, 2] = 1.001
    scaling = scaling_of(own("data.standardise=pixel"), [moments(images)])
    assert scaling is not None
    slope, offset = slope_and_offset(own(), scaling, images)
    assert abs(slope * images + offset)[:, 2].max() < 0.1


def test_images_that_are_all_the_same() -> None:
    scaling = scaling_of(own(), [moments(np.full((3, 4), 7, np.uint8))])
    assert scaling is not None
    slope, offset = slope_and_offset(own(), scaling, np.zeros((1, 4), np.uint8))
    np.testing.assert_allclose(slope * 7 + offset, 0, atol=1e-6)
    assert resolved(own(), DatasetInfo((4,), ("a", "b"), 3, 1, scaling=scaling)).data.label_value > 0


def test_given_figures_are_kept() -> None:
    fixed = own("data.mean=0.5", "data.std=3")
    assert fixed.data.standardise == "fixed" and scaling_of(fixed, []) is None
    slope, offset = slope_and_offset(fixed, None, np.zeros((1, 2), np.uint8))
    assert slope[0] == np.float32(1 / (255 * 3.0)) and offset[1] == np.float32(-0.5 / 3)
    assert own().data.standardise == "set"
    assert config.parse("", "run.toml", []).data.standardise == "fixed"  # data sets that are known
    assert config.parse("preset='paper'", "run.toml", ["data.name=hdf5"]).data.standardise == "set"
    assert own("data.mean=0.5", "data.standardise=pixel").data.standardise == "pixel"


@pytest.mark.parametrize(
    ("pixels", "classes", "settings", "label"),
    [
        (784, 10, [], "overlay"),
        (64, 10, [], "append"),
        (100, 10, [], "overlay"),
        (99, 10, [], "append"),
        (99, 10, ["data.label=overlay"], "overlay"),
        (784, 10, ["data.label=append"], "append"),
    ],
)
def test_where_the_label_stands(pixels: int, classes: int, settings: list[str], label: str) -> None:
    dataset = DatasetInfo((pixels,), tuple(map(str, range(classes))), 10, 10)
    data = resolved(own(*settings), dataset).data
    assert (data.label, data.label_value) == (label, 1.0)
    assert resolved(own("data.label_value=2.5"), dataset).data.label_value == 2.5


def test_the_label_grows_with_the_input() -> None:
    values = []
    for square in (100.0, 400.0):
        dataset = DatasetInfo(
            (100,), ("a", "b"), 10, 10, scaling=PixelScaling(np.zeros(1), np.ones(1), np.array([square]))
        )
        values.append(resolved(own(), dataset).data.label_value)
    assert values[1] == pytest.approx(2 * values[0])
    assert own("data.label_value=auto").data.label_value == "auto"
    with pytest.raises(Exception, match=r"data.label_value = -1: expected 'auto' or a number more than 0"):
        own("data.label_value=-1")
