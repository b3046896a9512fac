"""What a host gives: limits of memory and cores as files under /proc and /sys say them."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from ffmpi.runtime.limits import Place, available_memory, core_share, crowded, memory_limits

MEMINFO = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    4000000 kB\nHugePages_Total:       0\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root directory with a /proc, on a host without ulimits."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    put(tmp_path, "proc/meminfo", MEMINFO)
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def found(root: Path) -> list[int]:
    return [limit.bytes for limit in memory_limits("h", root)]


def test_a_host_without_control_groups(root: Path) -> None:
    assert found(root) == [16_000_000 * 1024] and available_memory(root) == 4_000_000 * 1024
    assert core_share(root) == float("inf")
    assert memory_limits("h", root / "nothing") == [] and available_memory(root / "nothing") is None


def test_control_groups_of_version_2(root: Path) -> None:
    put(root, "proc/self/cgroup", "0::/slurm/job_7/step_0\n")
    put(root, "sys/fs/cgroup/slurm/job_7/memory.max", "1000000000\n")
    put(root, "sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n")
    put(root, "sys/fs/cgroup/slurm/memory.max", "99000000000000\n")  # more than there is
    put(root, "sys/fs/cgroup/slurm/job_7/step_0/cpu.max", "max 100000\n")
    put(root, "sys/fs/cgroup/slurm/cpu.max", "150000 100000\n")
    host, group = memory_limits("h", root)
    assert group.bytes == 1_000_000_000 and "slurm/job_7 on h" in group.what and group.key != host.key
    assert core_share(root) == 1.5


def test_control_groups_of_version_1(root: Path) -> None:
    put(root, "proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/\n0::/\n")
    put(root, "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "2000000000\n")
    put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    put(root, "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n")
    put(root, "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n")
    put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    assert found(root) == [16_000_000 * 1024, 2_000_000_000] and core_share(root) == 2.0


def test_a_container_that_sees_only_the_top_of_its_group(root: Path) -> None:
    put(root, "proc/self/cgroup", "0::/system.slice/docker-abc.scope\n")
    put(root, "sys/fs/cgroup/memory.max", "3000000000\n")
    put(root, "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert found(root) == [16_000_000 * 1024, 3_000_000_000] and core_share(root) == 0.5


def test_ulimit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (5000, resource.RLIM_INFINITY))
    host, *own = memory_limits("h", root)
    assert [limit.bytes for limit in own] == [5000, 5000] and "ulimit -v" in own[0].what
    assert len({limit.key for limit in [host, *own]}) == 3


def place(*cores: int, host: str = "h", share: float = float("inf")) -> Place:
    return Place(host, frozenset(cores), share)


@pytest.mark.parametrize(
    ("places", "threads", "expected"),
    [
        ([place(0, 1)] * 2, 1, ""),
        ([place(0), place(1)], 1, ""),
        ([place(0, 1), place(0, 1, host="i")], 2, ""),
        ([place(0, 1)], 2, ""),
        ([place(0, 1)] * 2, 2, "2 ranks of 2 threads on h, but 2 cores: they slow each other down"),
        ([place(0, 1)] * 3, 1, "3 ranks of 1 thread on h, but 2 cores"),
        ([place(0, 1, share=1.5)] * 2, 1, "2 ranks of 1 thread on h, but 1.5 cores"),
        ([place(0, 1)], 3, "1 rank of 3 threads on h, but 2 cores"),
        ([place(3), place(3)], 1, "2 ranks of 1 thread on h are all bound to core 3"),
        ([place(0, 1, host="i"), place(3), place(3)], 1, "2 ranks of 1 thread on h are all bound to core 3"),
        ([place(0), place(1), place(2), place(3)], 2, "4 ranks of 2 threads on h, but 4 cores"),
        ([place(0), place(1, 2, 3)], 2, "schedule.threads = 2, but on h a rank is bound to 1 of the cores"),
    ],
)
def test_cores(places: list[Place], threads: int, expected: str) -> None:
    found = crowded(places, threads)
    assert found.startswith(expected) and bool(found) == bool(expected), found
