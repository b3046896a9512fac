"""The command `plan`: what it prints, refuses and writes; the files for LogGOPSim by a reader of their own."""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ffmpi.cli import app
from ffmpi.errors import UserError
from ffmpi.run.trace import KINDS, Trace

RECIPE = Path(__file__).parents[2] / "runs" / "digits.toml"
SHORT = ("--set", "train.epochs=2", "--set", "network.layers=[64,48,80]", "--machine", "epyc-avx2")


def plan(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", str(RECIPE), *SHORT, *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def facts(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan("--json", *arguments))
    return found


def test_a_plan_adds_up() -> None:
    found = facts("-n", "3", "--ranks-per-host", "2")
    assert (found["ranks"], found["hosts"], found["epochs"]) == (3, 2, 2)
    assert sum(bound["share"] for bound in found["bounds"]) == pytest.approx(1.0)
    assert found["speedup"] == pytest.approx(found["seconds_on_one_rank"] / found["seconds"])
    assert [rank for group in found["per_rank"] for rank in group["ranks"]] == [0, 1, 2]
    assert sum(group["weights"] for group in found["per_rank"]) == 74 * 64 + 64 * 48 + 48 * 80
    assert sum(group["sent"] for group in found["per_rank"]) == sum(group["received"] for group in found["per_rank"])
    assert all(group["memory"] > 1e8 for group in found["per_rank"]) and not found["unfit"]
    assert re.fullmatch(r"#SBATCH -N 2 -n 3 -c 1 --time=\d\d:\d\d:00", found["slurm"])
    for advice in found["advice"]:
        assert advice["wider"] or advice["seconds"] < found["seconds"]


def test_what_would_help_is_planned_itself() -> None:
    found = facts("-n", "4", "--ranks-per-host", "4")
    told = {advice["change"]: advice["seconds"] for advice in found["advice"]}
    assert "checkpoint.every = 10" not in told  # there are two chapters
    size = next(change for change in told if change.startswith("train.batch_size"))
    setting = size.replace(" ", "")
    again = facts("-n", "4", "--ranks-per-host", "4", "--set", setting, "--no-advice")
    assert told[size] == pytest.approx(again["seconds"], rel=0.02)


def test_it_prints_what_a_user_asks_for() -> None:
    text = plan("-n", "2", "--ranks-per-host", "2")
    assert "not measured here; 1 host of 2 ranks" in text and "#SBATCH -N 1 -n 2" in text
    assert "part of the head" in text and "expected: " in text and "speed-up" in text
    by_host = plan("-n", "12", "--ranks-per-host", "4", "--no-advice")
    assert "3 hosts of 4 ranks" in by_host


def test_what_does_not_fit_is_said() -> None:
    wide = ("--set", "network.layers=[60000,60000]", "--no-advice")
    found = facts(*wide)
    assert found["unfit"].startswith("not enough memory: ")  # of a host of the machine, or of this one
    assert found["unfit"] in plan(*wide)


def test_a_curve_ends_where_there_are_no_more_panels() -> None:
    lines = plan("--curve").splitlines()
    assert [line.split()[0] for line in lines[3:-1]] == ["1", "2", "4", "8"]
    assert lines[-1].startswith("16 ranks: expected at most 12")
    points = json.loads(plan("--curve", "-n", "6", "--json"))["curve"]
    assert [point["ranks"] for point in points] == [1, 2, 4, 6] and points[0]["speedup"] == 1.0


def test_data_that_is_not_here() -> None:
    known = ["--set", "data.name=mnist", "--set", "data.path=/nowhere/mnist"]
    assert "mnist: 60000 training and 10000 test samples, 784 pixels" in plan(*known)
    own = ["--set", "data.name=hdf5", "--set", "data.path=/nowhere/set.h5"]
    with pytest.raises(UserError, match="expected them there, or --samples, --shape, --classes"):
        plan(*own)
    sizes = ["--samples", "5000", "--test", "100", "--shape", "3x16x16", "--classes", "20"]
    assert "hdf5: 5000 training and 100 test samples, 768 pixels, 20 classes" in plan(*own, *sizes)
    assert "4500 training, 500 validation" in plan(*own, *sizes, "--set", "data.validation=0.1")
    with pytest.raises(UserError, match="--shape 3x: expected the sizes of an image"):
        plan(*own, "--shape", "3x")


def test_too_many_ranks_and_no_such_machine() -> None:
    with pytest.raises(UserError, match="expected at most 12"):
        plan("-n", "13")
    with pytest.raises(UserError, match="expected a file or one of here"):
        plan("--machine", "cray")


def test_a_planned_trace_has_every_rank(tmp_path: Path) -> None:
    found = facts("-n", "2", "--ranks-per-host", "2", "--trace", str(tmp_path / "plan.h5"))
    trace = Trace.read(tmp_path / "plan.h5")
    assert trace.planned and trace.complete and trace.hosts == ("host 1", "host 1")
    assert "part of the head" in trace.owns[0] and set(trace.spans["chapter"]) >= {0, 1}
    assert trace.end == pytest.approx(found["seconds"], rel=0.01)
    for rank in (0, 1):
        spans = trace.spans[trace.spans["rank"] == rank]
        assert (spans["start"][1:] >= spans["stop"][:-1] - 1e-12).all()
    assert trace.seconds[:, KINDS.index("update")].min() > 0
    assert (trace.messages["received"] >= trace.messages["sent"]).all()
    assert trace.messages["bytes"].sum() == pytest.approx(sum(one["sent"] for one in found["per_rank"]))


# GOAL, as LogGOPSim reads it ------------------------------------------------------------------------------------------

_OPERATION = re.compile(r"(l\d+): (?:(calc) (\d+)|(send) (\d+)b to (\d+) tag (\d+)|(recv) (\d+)b from (\d+) tag (\d+))")
_NEED = re.compile(r"(l\d+) (i?requires) (l\d+)")


def read_goal(lines: list[str]) -> list[dict[str, Any]]:
    """Return of each rank its operations by label: kind, size, peer, tag, needs."""
    found: list[dict[str, Any]] = []
    head = re.fullmatch(r"num_ranks (\d+)", lines[0])
    assert head
    for line in lines[1:]:
        if not line or line.startswith("//") or line == "}":
            continue
        if rank := re.fullmatch(r"rank (\d+) {", line):
            assert int(rank[1]) == len(found)
            found.append({})
        elif operation := _OPERATION.fullmatch(line):
            label, kind, *numbers = (part for part in operation.groups() if part is not None)
            assert label not in found[-1]
            found[-1][label] = (kind, *map(int, numbers)), []
        else:
            need = _NEED.fullmatch(line)
            assert need and need[3] in found[-1], f"needs what is unknown, or nothing: {line}"
            found[-1][need[1]][1].append((need[2], need[3]))
    assert len(found) == int(head[1])
    return found


def finish(ranks: list[dict[str, Any]]) -> None:
    """Carry out all operations; each send must meet a recv of as many bytes."""
    begun: set[tuple[int, str]] = set()
    ended: set[tuple[int, str]] = set()
    sends: dict[Any, deque[Any]] = defaultdict(deque)
    receives: dict[Any, deque[Any]] = defaultdict(deque)
    waiting = {(rank, label) for rank, operations in enumerate(ranks) for label in operations}
    while waiting:
        before = len(waiting)
        for rank, label in sorted(waiting, key=lambda one: (one[0], int(one[1][1:]))):
            operation, needs = ranks[rank][label]
            if all((rank, other) in (ended if how == "requires" else begun) for how, other in needs):
                waiting.discard((rank, label))
                begun.add((rank, label))
                kind, size, *rest = operation
                if kind == "calc":
                    ended.add((rank, label))
                    continue
                peer, tag = rest
                key = (rank, peer, tag) if kind == "send" else (peer, rank, tag)
                (sends if kind == "send" else receives)[key].append(((rank, label), size))
                while sends[key] and receives[key]:
                    (one, sent), (other, received) = sends[key].popleft(), receives[key].popleft()
                    assert sent == received
                    ended |= {one, other}
        assert len(waiting) < before, "deadlock"
    assert not any(map(len, sends.values())) and not any(map(len, receives.values()))
    assert ended == begun


@pytest.mark.parametrize("settings", [
    ("-n", "3"), ("-n", "2", "--set", "schedule.name=single-layer"), ("-n", "2", "--set", "schedule.name=all-layers"),
])  # fmt: skip
def test_goal_has_every_message_at_both_ends(settings: tuple[str, ...], tmp_path: Path) -> None:
    file, few = tmp_path / "run.goal", ("--samples", "200", "--test", "40", "--set", "train.batch_size=50")
    found = facts(*settings, *few, "--goal", str(file), "--no-advice")
    lines = file.read_text().splitlines()
    assert re.match(r"// LogGOPSim -L \d+ -o \d+ -g \d+ -G \d+ -O \d+ -S 16384$", lines[1])
    ranks = read_goal(lines)
    finish(ranks)
    sent = [sum(op[1] for op, _ in one.values() if op[0] == "send") for one in ranks]
    assert sent == pytest.approx([group["sent"] for group in found["per_rank"]])
    computed = np.array([sum(op[1] for op, _ in one.values() if op[0] == "calc") for one in ranks]) / 1e12
    busy = [group["busy"] - group["moving"] for group in found["per_rank"]]
    assert computed == pytest.approx(busy, rel=0.02)
