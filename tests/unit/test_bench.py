"""`ffmpi bench`: the contenders do the same work, and what is measured is told."""

from __future__ import annotations

import json
import os
import re
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from click.testing import CliRunner

from ffmpi.cli import app
from ffmpi.commands.bench import costs, operations, slices
from ffmpi.commands.bench import kernels as command
from ffmpi.commands.bench.placement import placement
from ffmpi.commands.bench.steps import FfmpiStep, NumpyStep
from ffmpi.commands.bench.threads import threads
from ffmpi.errors import UserError
from ffmpi.kernels import peak
from ffmpi.schedule.core import CORE
from tests.conftest import Run
from tests.helpers import DIGITS

ROWS, INPUTS, UNITS = 21, 40, 50
ACTIVE = {"all rows": np.arange(ROWS), "some rows": np.arange(0, ROWS, 4)}


def make() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a, w and coefficients c of both signs."""
    rng = np.random.default_rng(0)
    a = np.maximum(rng.standard_normal((ROWS, INPUTS), np.float32), 0)
    w = rng.standard_normal((INPUTS, UNITS), np.float32) / np.float32(np.sqrt(INPUTS))
    return a, w, rng.uniform(-1, 1, ROWS).astype(np.float32)


def after_three(step, active: np.ndarray) -> np.ndarray:
    for _ in range(3):
        step.forward()
        step.update(active)
    return step.weights()


@pytest.mark.parametrize("active", ACTIVE.values(), ids=ACTIVE)
def test_every_library_makes_the_same_step(active: np.ndarray) -> None:
    a, w, c = make()
    ours = after_three(FfmpiStep(a, w, c, rate=0.01), active)
    assert np.abs(ours - w).max() > 0.02
    np.testing.assert_allclose(after_three(NumpyStep(a, w, c, rate=0.01), active), ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("active", ACTIVE.values(), ids=ACTIVE)
def test_torch_by_hand_makes_the_same_step(active: np.ndarray) -> None:
    pytest.importorskip("torch")
    from ffmpi.commands.bench.torch_steps import HandStep

    a, w, c = make()
    ours = after_three(FfmpiStep(a, w, c, rate=0.01), active)
    np.testing.assert_allclose(after_three(HandStep(a, w, c, rate=0.01), active), ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("active", ACTIVE.values(), ids=ACTIVE)
def test_autograd_makes_the_step_of_the_goodness_rule(active: np.ndarray, fused: bool) -> None:
    pytest.importorskip("torch")
    from ffmpi import kernels
    from ffmpi.commands.bench.torch_steps import THRESHOLD, AutogradStep
    from ffmpi.rules.goodness import SMALLEST, Goodness

    a, w, _ = make()
    theirs = AutogradStep(a, w, fused=fused, rate=0.01)
    ours = FfmpiStep(a, w, np.zeros(ROWS, np.float32), rate=0.01)
    rule = Goodness(goodness="mean", threshold=THRESHOLD / UNITS)
    positives, (per, theta, slope) = int(np.sum(active < ROWS // 2)), rule.compared(UNITS)
    for _ in range(3):
        ours.forward()
        c = np.empty(len(active), np.float32)
        kernels.goodness_loss(ours.totals[0, active], per, positives, theta, slope, SMALLEST, c, None)
        ours.c[active] = c
        ours.update(active)
    np.testing.assert_allclose(after_three(theirs, active), ours.weights(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("inputs", "units", "rows"), [(20, 33, 12), (7, 100, 1)])
def test_an_operation_is_the_same_in_numpy(inputs: int, units: int, rows: int) -> None:
    made = {**operations.of_images(rows), **operations.of_units(units, rows)}
    made |= operations.of_optimisers(inputs, units, rows)
    for name, (kernel, in_numpy, result) in made.items():
        kernel()
        found, expected = result(), in_numpy()
        if name != "dropout":  # another mask
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_operations_are_listed() -> None:
    arguments = ["bench", "operations", "--repeats", "1", "--shape", "10x20x4"]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert all(word in outcome.stdout for word in ("of NumPy", "compose_moved", "dropout", "update by lion"))
    outcome = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert all(min(times.values()) > 0 for times in json.loads(outcome.stdout)["operations"].values())


@pytest.mark.parametrize("rule", ["goodness", "local-softmax"])
def test_a_piece_that_is_timed_adds_up_what_the_whole_layer_has(rule: str) -> None:
    whole, piece = (slices.Piece((50, 100, 6), rule, panels, 0.5) for panels in (7, 3))
    whole.step()
    piece.step()
    assert piece.layer.panels == range(2, 5) and whole.layer.whole
    np.testing.assert_array_equal(piece.out.h[:, : piece.rows], whole.out.h[2:5, : whole.rows])
    # Nobody else is there, so the piece's own sums are all there are.
    own = (piece.out.h[:, : piece.rows].astype(np.float64) ** 2).sum(axis=(0, 2))
    np.testing.assert_allclose(piece.out.total[: piece.rows], own, rtol=1e-5)
    assert all((block.steps > 0) == (block.block.optimizer is not None) for block in piece.layer.blocks.values())


def test_slices_are_listed() -> None:
    arguments = ["bench", "slices", "--repeats", "1", "--shape", "30x100x4"]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "times share" in outcome.stdout and "85 % zeros, ms" in outcome.stdout
    outcome = CliRunner().invoke(app, [*arguments, "--json", "--rule", "class-groups"], catch_exceptions=False)
    found = json.loads(outcome.stdout)["slices"]
    assert [one["panels"] for one in found] == [7, 6, 4, 3, 2, 1]
    assert found[0]["dense"] == found[0]["sparse"] == 1 and all(one["sparse_ms"] > 0 for one in found)


def test_the_peak_kernel_keeps_its_chains() -> None:
    burst = peak.Burst()
    burst()
    assert np.all(burst.chains == 1)  # the fixed point of x / 2 + 1 / 2: the chains were neither merged nor dropped


@pytest.mark.perf
def test_the_peak_kernel_is_vector_arithmetic_on_registers() -> None:
    burst = peak.Burst()
    fresh = numba.njit(peak.multiply_add.py_func)  # Numba shows no assembly of what comes from its cache
    fresh(1, burst.numbers, burst.chains)
    assembly = fresh.inspect_asm(fresh.signatures[0])
    loops = re.findall(r"^(\.LBB\w+):\n((?:\t.*\n)+?)\t\w+(?:\.\w+)?\t\1$", assembly, re.M)
    loop = max(loops, key=lambda found: len(found[1]))
    operations = [line.split()[0] for line in loop[1].splitlines() if not line.lstrip().startswith(("#", "."))]
    products = [name for name in operations if re.match(r"vfn?m(add|sub)\d+ps|fmla", name)]
    assert len(products) >= peak.CHAINS
    assert len(operations) - len(products) <= 3  # the loop's counter: nothing is spilled
    assert not re.search(r"\(%rsp\)", loop[1])


def test_the_memory_rate_is_sane() -> None:
    assert peak.copy_bytes() >= 1 << 20
    assert peak.memory_rate(1 << 20, repeats=1) > 1e7


def test_json_has_every_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "copy_bytes", lambda: 1 << 20)
    arguments = ["bench", "kernels", "--repeats", "1", "--shapes", "40x50x24", "--json"]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    results = json.loads(outcome.stdout)
    assert set(results) == {
        "machine", "repeats", "threads", "peak_gflops", "memory_gbs", "memory_method", "shapes",
    }  # fmt: skip
    assert results["machine"]["compared"]["numpy"] == np.__version__
    (each,) = results["shapes"]
    assert (each["inputs"], each["units"], each["rows"], each["tenth_rows"]) == (40, 50, 24, 3)
    assert each["megabytes"]["step"] == pytest.approx(4e-6 * (24 * 90 + 6 * 2000))
    assert {"ffmpi", "numpy"} <= set(each["contenders"])
    for works in each["contenders"].values():
        for work, numbers in works.items():
            assert set(numbers) == {"ms", "gflops", "share"}
            assert numbers["gflops"] == pytest.approx(1e3 * each["gflop"][work] / numbers["ms"])
            assert numbers["share"] == pytest.approx(numbers["gflops"] / each["core_peak_gflops"])


def test_table_and_roofline(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(peak, "copy_bytes", lambda: 1 << 20)
    picture = tmp_path / "roof.png"
    arguments = ["bench", "kernels", "--repeats", "1", "--shapes", "40x50x24", "--plot", str(picture)]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert all(word in outcome.stdout for word in ("40 x 50", "of NumPy", "of peak", "10 % of rows"))
    assert max(map(len, outcome.stdout.splitlines())) <= 120
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["2000x2000", "0x5x5", "axbxc", "1x2x3x4", "-1x2x3"])
def test_a_wrong_shape_costs_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match="INPUTSxUNITSxROWS"):
        command.parse_shape(text, "--shapes")


def test_too_many_threads_cost_a_sentence() -> None:
    with pytest.raises(UserError, match="--threads: 100000 "):
        command.kernels(1, (), 100_000, False, None)


def test_threads_are_compared_in_bursts(capsys: pytest.CaptureFixture[str]) -> None:
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(UserError, match=f"expected 2 to {cores}"):
        threads(cores + 1, "40x50x8", 1, True)
    if cores > 1:
        threads(2, "40x50x8", 1, True)
        found = json.loads(capsys.readouterr().out)
        assert found["threads"] == 2
        assert found["one_ms"] > 0
        assert found["ratio"] > 0


def test_every_step_is_measured_beside_its_cost(ffmpi: Run) -> None:
    done = ffmpi(0, "bench", "costs", DIGITS, "--chapters", "1", "--set", "network.layers=[64,64]", "--json")
    steps = {tuple(step[key] for key in ("step", "layer", "stream")): step for step in json.loads(done.stdout)["steps"]}
    assert {key[0] for key in steps} == {
        "BuildInput", "Forward", "GatherHeadInput", "Update", "Logits", "AddLogits", "HeadError", "UpdateHead",
        "Evaluate",
    }  # fmt: skip
    assert steps["Update", 2, "joint"]["steps"] == -(-1437 // 50)
    for step in steps.values():
        assert step["microseconds"] > 0 < step["expected"]


def test_costs_are_measured_on_one_rank() -> None:
    with pytest.raises(UserError, match="bench costs on 2 ranks: expected one"):
        costs._costs(SimpleNamespace(size=2), str(DIGITS), [], 1, CORE, False)


def test_a_placement_tells_what_ranks_send() -> None:
    """Two layers of 6 panels on 3 ranks, of which two share the first and the other has the second, by hand."""
    arguments = ["bench", "placement", "--network", "2x96x8", "--ranks", "3", "--ranks", "13"]
    arguments += ["--set", "rule.name=local-softmax", "--json"]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    shared, many = json.loads(outcome.stdout)["placements"]
    assert many == {"network": "2x96x8", "ranks": 13, "most": 12}
    # Either of the two sends its activations, and its sums in two parts: with the logits only to the other of the two.
    activations, squares, logits = 3 * 16 * 8, 16, 16 * 8
    sent = 4 * (activations + 2 * squares + 2 * (squares + logits))
    assert (shared["messages"], shared["most_messages"]) == (6 / 3, 3)
    assert (shared["bytes"], shared["most_bytes"]) == (pytest.approx(2 * sent / 3), sent)
    text = CliRunner().invoke(app, arguments[:-1], catch_exceptions=False).stdout
    assert "2 x 96 x 8" in text and "only 12 panels" in text and max(map(len, text.splitlines())) <= 120


def test_a_wrong_network_costs_a_sentence() -> None:
    for network in ("2x48", "axbxc", "0x16x8"):
        with pytest.raises(UserError, match="expected LAYERSxUNITSxBATCH"):
            placement((network,), (2,), [], False)
    with pytest.raises(UserError, match="expected schedule"):
        placement(("2x48x8",), (2,), ["schedule.name=all-layers"], False)
