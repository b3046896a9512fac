"""Numba on a machine that does not give all it wants: the cache of compiled kernels, and its own variables."""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numba
import pytest

from ffmpi.config.schema import Config
from ffmpi.errors import UserError
from ffmpi.kernels import cache_problem, compiled
from ffmpi.runtime import numba_check, setup

SOURCE = """
from ffmpi.kernels.compiled import compiled


@compiled
def double(x):
    return 2 * x
"""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return a function that gives a kernel as a new process would see it; the cache is tmp_path/cache."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "_problems", [])
    source = tmp_path / "kernel.py"
    source.write_text(SOURCE)

    def load() -> Any:
        spec = importlib.util.spec_from_file_location("kernel", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.double

    return load


def hits(kernel: Any) -> int:
    assert kernel(21) == 42
    return sum(kernel.stats.cache_hits.values())


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: b"garbage"])
def test_a_damaged_cache_is_written_anew(
    fresh: Callable[[], Any], tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]
) -> None:
    assert hits(fresh()) == 0 and hits(fresh()) == 1 and not cache_problem()
    (file,) = tmp_path.glob(f"cache/*/*.{kind}")
    file.write_bytes(damage(file.read_bytes()))
    assert hits(fresh()) == 0
    assert "damaged" in cache_problem() and str(tmp_path) in cache_problem()
    assert hits(fresh()) == 1


def test_a_full_disk_or_no_directory_at_all(
    fresh: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as context:
        context.setattr(os, "replace", full)
        assert hits(fresh()) == 0
    assert "No space left" in cache_problem() and not list(tmp_path.glob("cache/*/*.tmp*"))
    monkeypatch.setattr(compiled, "_problems", [])
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert hits(fresh()) == 0
    assert "can be written to" in cache_problem()


def test_a_problem_of_any_rank_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "one_per_host_first", lambda comm: nullcontext())
    monkeypatch.setattr(setup, "allgather", lambda comm, own: [own, "/cache: No space left", "/cache: damaged"])
    monkeypatch.setattr(setup, "_warn_of_crowding", lambda comm, settled: None)
    setup.prepare_kernels(None, Config())
    warning = capsys.readouterr().err
    assert warning.startswith("ffmpi: warning: kernels had to be compiled") and warning.count("\n") == 1
    assert "(/cache: No space left)" in warning and "NUMBA_CACHE_DIR" in warning


def test_without_a_home_no_directory_is_made_where_one_stands(
    fresh: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    (tmp_path / "__pycache__").write_text("")  # so nothing can be kept beside the source
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert hits(fresh()) == 0
    assert "can be written to" in cache_problem() and not os.path.exists("~")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DISABLE_JIT", 1, "NUMBA_DISABLE_JIT is set"),
        ("CPU_NAME", "pentium9", "NUMBA_CPU_NAME=pentium9: LLVM knows no such processor"),
        ("CPU_FEATURES", "+avx2,nonsense", "NUMBA_CPU_FEATURES: 'nonsense' is no feature"),
        ("CPU_FEATURES", "+nonsense", r"NUMBA_CPU_FEATURES: '\+nonsense' is no feature"),
    ],
)
def test_variables_of_numba_that_cannot_work(
    name: str, value: object, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, name, value)
    with pytest.raises(UserError, match=expected):
        numba_check.check()


@pytest.mark.parametrize(
    ("name", "value"), [("CPU_NAME", "generic"), ("CPU_NAME", "haswell"), ("CPU_FEATURES", "-avx512f"), ("OPT", 3)]
)
def test_variables_of_numba_that_work(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, name, value)
    numba_check.check()


def test_looking_takes_no_threads_away() -> None:
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    numba_check.check()
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("NUMBA_NUM_THREADS=two", "Environment variable 'NUMBA_NUM_THREADS' is defined but its associated value 'two'"),
        ("NUMBA_THREADING_LAYER=foo", "Numba cannot start (The threading layer requested 'foo'"),
    ],
)
def test_variables_that_numba_reads_when_it_starts(variable: str, expected: str) -> None:
    name, _, value = variable.partition("=")
    command = [sys.executable, "-m", "ffmpi", *(["evaluate", "none"] if value == "two" else ["info"])]
    done = subprocess.run(command, env=os.environ | {name: value}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"ffmpi: {expected}") and done.stderr.count("\n") == 1 and variable in done.stderr


def test_commands_that_describe_import_no_kernels(tmp_path: Path) -> None:
    """They are to answer at once, also where Numba cannot start."""
    program = (
        "import sys\nfrom ffmpi.__main__ import main\n"
        "for arguments in (['info', 'none'], ['table', 'none'], ['data'], ['data', 'digits']):\n"
        "    sys.argv = ['ffmpi', *arguments]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        print(arguments, end.code)\n"
        "    assert not {'numba', 'llvmlite', 'ffmpi.kernels', 'mpi4py.MPI'} & sys.modules.keys(), arguments\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 2 and "none: cannot be opened" in done.stderr
    assert "['data', 'digits'] None" in done.stdout or "['data', 'digits'] 0" in done.stdout
