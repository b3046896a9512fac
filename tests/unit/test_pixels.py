"""A network remembers what its pixels were: the same pictures in other numbers are converted exactly, or refused."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from samples import pixels, refused

from ffmpi import errors
from ffmpi.data import DataSet
from ffmpi.data.pixels import PixelFormat, combined_format, converted, fitted, measured_format, span_of
from ffmpi.errors import UserError

BYTES = np.concatenate([np.arange(256, dtype=np.uint8)[None], pixels(9, 256)])
SAME = {
    "uint8": BYTES,
    "0 to 255": BYTES.astype(np.float32),
    "0 to 1": (BYTES / 255).astype(np.float32),
    "-1 to 1": (BYTES / 127.5 - 1).astype(np.float32),
}
STANDARDISED = ((BYTES / 255 - 0.3) / 0.35).astype(np.float32)


@pytest.fixture(autouse=True)
def output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_warned", set())


@pytest.mark.parametrize(("one", "other"), list(permutations(SAME, 2)))
def test_every_scale_becomes_every_other_to_the_bit(one: str, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained = measured_format(SAME[other])
    found = converted(SAME[one], trained, "x.h5")
    assert_array_equal(found, SAME[other], strict=True)
    output = capsys.readouterr().err
    assert (
        output.startswith("ffmpi: note: x.h5: pixels are ")
        and f", converted to {trained.dtype} of " in output
        and output.count("\n") == 1
    )
    single = np.float32(SAME[one]) if one == "-1 to 1" else SAME[one]
    assert_array_equal(converted(single[3:4], trained, "x.h5"), SAME[other][3:4])  # one picture is enough


@pytest.mark.parametrize("own", [*SAME.values(), STANDARDISED])
def test_parts_are_converted_as_the_whole_is(own: np.ndarray) -> None:
    trained = measured_format(own)
    for images in SAME.values():
        parts = [span_of(images, trained, slice(first, first + 3)) for first in range(0, 10, 3)]
        assert sum(parts[1:], parts[0]) == span_of(images, trained)
        if images.dtype == own.dtype or own is not STANDARDISED:
            try:
                whole = converted(images, trained, "x.h5")
            except UserError as error:
                refused(lambda: converted(images, trained, "x.h5", sum(parts[1:], parts[0])), str(error))  # noqa: B023
            else:
                assert_array_equal(converted(images[:2], trained, "x.h5", sum(parts[1:], parts[0])), whole[:2])


def test_rounding_in_single_precision_is_no_difference() -> None:
    """People divide in float32, too: one unit in the last place more or less is the same picture."""
    unit = BYTES.astype(np.float32) * np.float32(1 / 255)
    signed = (BYTES.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    for images in (unit, signed):
        assert (images != SAME["0 to 1"]).any()
        assert_array_equal(converted(images, measured_format(BYTES), "x.h5"), BYTES, strict=True)


@pytest.mark.parametrize("scale", SAME)
def test_own_pixels_are_left_alone(scale: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The very same array comes back, of the whole set, of a dark or a bright part, and for old checkpoints."""
    images = SAME[scale]
    trained = measured_format(images)
    dark = images[:, :100].copy() if scale != "0 to 255" else images[:, :20].copy()
    for part in (images, dark, images[:, 100:]) if scale != "-1 to 1" else (images, dark):
        assert converted(part, trained, "x.h5") is part
        assert converted(part, None, "x.h5") is part
    outlier = images[:1].copy()
    if outlier.dtype != np.uint8:
        outlier[0, 7] = 3 * images.max()  # as test samples have that are scaled by the range of the training samples
        assert converted(outlier, trained, "x.h5") is outlier
    assert capsys.readouterr().err == ""


def test_values_between_bytes_are_kept() -> None:
    """Pictures that were resized as floats are converted by the formula; for a network of bytes they are rounded."""
    images = np.array([[0.5, 0.25, 0.123456, 0.0, 1.0]], np.float32)
    signed = PixelFormat("float32", -1, 1)
    assert converted(images, signed, "x")[0] == pytest.approx(2 * images[0].astype(float) - 1, abs=1e-7)
    assert converted(images, PixelFormat("uint8", 0, 255), "x").tolist() == [[128, 64, 31, 0, 255]]


@pytest.mark.parametrize(
    ("images", "trained"),
    [
        (BYTES, STANDARDISED),  # nobody knows by which mean
        (BYTES, SAME["0 to 1"] - np.float32(0.5)),
        (BYTES, SAME["0 to 1"] - np.float32(0.87)),
        (BYTES, SAME["0 to 1"] * 16),
        (SAME["0 to 1"], (BYTES > 99).astype(np.uint8)),  # 0 and 1
        (STANDARDISED, BYTES),
        (STANDARDISED, SAME["0 to 1"]),
        (STANDARDISED, SAME["-1 to 1"]),
        (STANDARDISED, SAME["0 to 255"]),
        (SAME["0 to 255"], STANDARDISED),
        (BYTES, BYTES // 16),
        (SAME["0 to 1"] * 16, BYTES),
        (SAME["0 to 1"] * 16, SAME["0 to 1"]),
        (SAME["0 to 255"] * 257, SAME["0 to 1"]),
        (SAME["0 to 1"] - np.float32(0.4), BYTES),
    ],
)
def test_what_is_refused(images: np.ndarray, trained: np.ndarray) -> None:
    kind = measured_format(trained)
    images = images.astype(np.float32) if images.dtype == np.float64 else images
    refused(
        lambda: converted(images, kind, "x.png"),
        f"x.png: pixels are {measured_format(images)}, but the network was trained on {kind}; expected ",
    )


def test_standardised_pixels_pass_to_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    trained = measured_format(STANDARDISED)
    assert converted(STANDARDISED[:2], trained, "x.h5") is not None
    assert capsys.readouterr().err == ""
    converted(SAME["0 to 1"], trained, "x.h5")
    assert "warning: x.h5: pixels are float32 from 0 to 1, but the network was trained on" in capsys.readouterr().err
    converted(np.float32(1.7) * STANDARDISED, trained, "x.h5")
    assert "is this the same scale?" in capsys.readouterr().err
    converted(BYTES // 8, PixelFormat("uint8", 0, 16), "x.png")


def test_a_set_of_several_files() -> None:
    parts = [PixelFormat("uint8", 3, 200), PixelFormat("uint8", 0, 180)]
    assert combined_format(parts, "x{shard}.h5") == PixelFormat("uint8", 0, 200)
    parts.append(PixelFormat("float32", 0, 1))
    refused(lambda: combined_format(parts, "x{shard}.h5"), "pixels of shard 3 are float32 from 0 to 1, expected uint8")


def test_test_samples_are_fitted() -> None:
    images = pixels(7, 3, 5, 4)
    test = DataSet(images.reshape(7, -1), np.zeros(7, np.uint8), (3, 5, 4), ("a", "b"))
    trained = PixelFormat("float32", 0, 1)
    found = fitted(test, trained, (5, 4, 3), "x.h5")
    assert found.images is not None and found.shape == (5, 4, 3)
    assert_array_equal(found.images, (images.transpose(0, 2, 3, 1) / 255).astype(np.float32).reshape(7, -1))
    classes = DataSet(None, test.classes, (3, 5, 4), ("a", "b"))
    assert fitted(classes, trained, (5, 4, 3), "x.h5").images is None
    refused(lambda: fitted(test, trained, (4, 5, 3), "x.h5"), "x.h5 has images of shape (3, 5, 4), expected (4, 5,")
