"""Which runs a sweep has: values split at commas, combined, checked and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffmpi.config.grid import grid, seeds_of, split
from ffmpi.errors import UserError
from tests.helpers import DIGITS


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1,0.2", ["0.1", "0.2"]),
        ("[5,6], [7]", ["[5,6]", "[7]"]),
        ("[]", ["[]"]),
        ('"a,b",c', ['"a,b"', "c"]),
        (r'"a\",b",c', [r'"a\",b"', "c"]),
        ("'a,\"b',c", ["'a,\"b'", "c"]),
        ('[{name="shift",pixels=2}],[]', ['[{name="shift",pixels=2}]', "[]"]),
        ("", [""]),
        ("[1,2", ["[1,2"]),  # is refused as it stands
        ("1],2", ["1]", "2"]),
        ("'a,b", ["'a", "b"]),
    ],
)
def test_values_stand_between_commas(text: str, values: list[str]) -> None:
    assert split(text) == values


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("1", [0]), ("3,5, 8", [3, 5, 8]), ("7,", [7]), ("0,", [0])]
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "1,,2", "a", "1.5", ",", "99999", "²", "9" * 30])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(UserError, match=r"--seeds .*: expected"):
        seeds_of(text)


def test_every_combination_is_a_run() -> None:
    varied = ["optimizer.learning_rate=0.1, 0.2", "train.epochs=3", "network.layers=[5,5],[6]"]
    points = grid(str(DIGITS), varied, [0, 4])
    assert [(p.config.optimizer.learning_rate, p.config.network.layers, p.config.seed) for p in points] == [
        (rate, layers, seed) for rate in (0.1, 0.2) for layers in ([5, 5], [6]) for seed in (0, 4)
    ]
    assert all(point.config.train.epochs == 3 for point in points)
    assert points[3].name == "optimizer.learning_rate=0.1,network.layers=6,seed=4"
    assert [point.name for point in grid(str(DIGITS), [], [3])] == ["seed=3"]
    assert [point.name for point in grid(str(DIGITS), ["seed=1,2"], [])] == ["seed=1", "seed=2"]


def test_names_are_those_of_directories(tmp_path: Path) -> None:
    """Whatever stands in a value, and however long it is; two runs never have one name."""
    values = ["data.name=csv", 'data.path="/a b","/a/b",/a-b,"/$(x);\'",' + ",".join("x" * 200 + y for y in "12")]
    names = [point.name for point in grid(str(DIGITS), values, [])]
    assert len(set(names)) == 6 and max(map(len, names)) <= 150
    assert names[:2] == ["data.path=-ab", "data.path=-a-b"] and names[2].startswith("data.path=-a-b-")
    for name in names:
        (tmp_path / name).mkdir()
        assert not set(name) & set("$()[]{};&|<>*?!'\"\\/ ")


@pytest.mark.parametrize(
    ("settings", "seeds", "expected"),
    [
        (["optimizer.learning_rate=0.1,-1"], [], r"--set optimizer.learning_rate=-1: .*expected"),
        (["optimizer.learning_rat=1,2"], [], "unknown key"),
        (["train.epochs"], [0], "expected table.key=value"),
        (["train.epochs=1,"], [], "a value is empty"),
        (["train.epochs=2"], [], "nothing to vary"),
        (["optimizer.learning_rate=1,1.0"], [], "one configuration twice"),
        ([], [3, 3], "seed=3 and seed=3.*: one configuration twice"),
        (["train.epochs=1,2", "train.epochs=3"], [], "train.epochs is varied and set twice"),
        (["train.epochs=3", "train.epochs=1,2"], [], "train.epochs is varied and set twice"),
        (["seed=3"], [0, 1], "seed is varied and set twice"),
        (
            ["train.epochs=" + ",".join(map(str, range(1, 201))), "train.batch_size=1,2"],
            range(100),
            "40000 combinations",
        ),
    ],
)
def test_what_is_no_grid(settings: list[str], seeds: list[int], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        grid(str(DIGITS), settings, seeds)


def test_settings_without_effect_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    grid(str(DIGITS), ["rule.name=local-softmax", "negatives.name=fixed,random"], [])
    assert "negatives.name = 'fixed': no effect" in capsys.readouterr().err
