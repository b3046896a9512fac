"""Figures of machines: reading files that anybody may have written, finding what was measured here, prices by them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
import tomli_w

from ffmpi.errors import UserError
from ffmpi.plan import machine as machines
from ffmpi.plan.machine import Machine, Messages, find_machine, parse_machine, read_machine, shipped, write_machine
from ffmpi.schedule.core import Core

TYPICAL = read_machine("epyc-avx2")


def test_what_is_shipped_can_be_read() -> None:
    assert {"epyc-avx2", "epyc-avx512"} <= shipped().keys()
    for name in shipped():
        found = read_machine(name)
        assert not found.measured and found.told.endswith(", not measured here") and found.source
        assert found.between.transfer(1e6) > found.inside.transfer(1e6) > 0


def test_a_file_that_was_written_is_read(tmp_path: Path) -> None:
    write_machine(TYPICAL, tmp_path / "new" / "mine.toml")
    assert read_machine(str(tmp_path / "new" / "mine.toml")) == TYPICAL


def changed(**changes: object) -> str:
    """Return the file of a typical machine with other values, `a__b` for those of tables; None takes one out."""
    values = msgspec.to_builtins(TYPICAL)
    for key, value in changes.items():
        *tables, name = key.split("__")
        table = values
        for one in tables:
            table = table[one]
        if value is None:
            del table[name]
        else:
            table[name] = value
    return tomli_w.dumps(values)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cores": 0}, "cores = 0: expected a whole number at least 1"),
        ({"disk": "fast"}, "disk = 'fast': expected a number more than 0"),
        ({"memory": float("inf")}, "memory = inf: expected a finite number"),
        ({"card": None}, "card is missing; expected a value"),
        ({"inside": None}, "inside is missing; expected a table"),
        ({"core__forward__rate": None}, "core.forward.rate is missing; expected a value"),
        ({"core__forward__rate": -1.0}, "core.forward.rate = -1.0: expected a number more than 0"),
        ({"core__speed": 1.0}, "unknown key 'core.speed'"),
        ({"core__steps": {"Forwards": 1e-5}}, "core.steps.Forwards = 1e-05: expected seconds of a step; did you mean"),
        ({"inside__bytes": [8, 8, 16]}, "inside.bytes: expected sizes that ascend"),
        ({"between__seconds": [1e-6]}, "between.seconds has 1 entries; expected 3, one for each of bytes"),
        ({"between__seconds": [-1.0, 1.0, 1.0]}, "between.seconds = [-1.0, 1.0, 1.0]: expected"),
        ({"core": 3}, "core = 3: expected a table [core]"),
    ],
)
def test_figures_that_make_no_sense_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as error:
        parse_machine(changed(**changes), "mine.toml")
    assert str(error.value).startswith("mine.toml: ") and told in str(error.value)


def test_what_is_no_file_of_a_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a file or one of here, .*did you mean 'epyc-avx2'"):
        read_machine("epyc-avx")
    with pytest.raises(UserError, match=r"no\.toml: cannot be read \(No such file or directory\)"):
        read_machine(str(tmp_path / "no.toml"))
    (tmp_path / "bytes.toml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(UserError, match="no UTF-8 text"):
        read_machine(str(tmp_path / "bytes.toml"))
    (tmp_path / "large.toml").write_text("#" * (1 << 20) + "\n" * 9)
    with pytest.raises(UserError, match="more than 1 MB"):
        read_machine(str(tmp_path / "large.toml"))
    for text in ("cores = ", "[" * 9999):
        with pytest.raises(UserError, match="not valid TOML"):
            parse_machine(text, "it")


def test_what_was_measured_here_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not find_machine().here
    mine = msgspec.structs.replace(
        TYPICAL, name="mine", measured=True, processor=machines.processor(), cores=os.cpu_count() or 1
    )
    write_machine(mine, machines.measured_path())
    assert find_machine() == mine == read_machine("here") and mine.here and mine.told == "mine"
    other = msgspec.structs.replace(mine, processor="another")
    assert not other.here and other.told == "mine, not measured here"


def test_a_message_takes_longer_the_larger_it_is() -> None:
    messages = Messages(bytes=[0, 1000, 2000], seconds=[1.0, 2.0, 4.0], overhead=[0.0, 1.0, 1.0])
    assert [messages.transfer(size) for size in (0, 500, 1000, 1500, 3000)] == [1.0, 1.5, 2.0, 3.0, 6.0]
    assert [messages.busy(size) for size in (500, 5000)] == [0.5, 1.0]
    one = Messages(bytes=[8], seconds=[1.0], overhead=[0.5])
    assert (one.transfer(1), one.busy(99)) == (1.0, 0.5)
    assert TYPICAL.transfer(1e6, same_host=True) == TYPICAL.inside.transfer(1e6) < TYPICAL.transfer(1e6, False)


def test_a_core_alone_has_figures_of_its_own() -> None:
    text = changed(alone=msgspec.to_builtins(TYPICAL.core) | {"copying": 9e9}, cores=4)
    found: Machine = parse_machine(text, "it")
    assert found.core_with(1) == found.alone != found.core == found.core_with(4) == found.core_with(9)
    # Between both, times are: here those of copies alone differ.
    some = found.core_with(2.5)
    assert msgspec.structs.replace(some, copying=9e9) == found.alone
    assert 2 / some.copying == pytest.approx(1 / found.alone.copying + 1 / found.core.copying)


def test_steps_that_only_one_core_names_take_what_any_step_takes_on_the_other() -> None:
    one, other = Core(step=1.0, steps={"Send": 3.0}), Core(step=5.0, steps={"Post": 9.0})
    assert one.towards(other, 0.5).steps == {"Send": 4.0, "Post": 5.0}
