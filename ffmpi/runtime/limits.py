"""What a host gives a rank: memory, by the system, a control group or ulimit, and cores."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limit:
    """A limit of memory: what sets it, as a sentence names it; the ranks with the same `key` share it."""

    what: str
    key: str
    bytes: int


def memory_limits(host: str, root: Path = Path("/")) -> list[Limit]:
    """Return the limits of this process's memory: the host's, those of its control groups (v1 and v2), ulimit's."""
    limits = []
    if total := _meminfo(root).get("MemTotal"):
        limits.append(Limit(f"the memory of {host}", host, total))
    for path in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            number = _number(path / name)
            if number is not None and (not total or number < total):  # without a limit v1 has an enormous one
                limits.append(Limit(f"the limit of control group {path} on {host}", f"{host} {path}", number))
    for name, kind in (("ulimit -v", resource.RLIMIT_AS), ("ulimit -d", resource.RLIMIT_DATA)):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(Limit(f"the limit of '{name}' on {host}", f"{host} {os.getpid()} {name}", soft))
    return limits


def available_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes the system could give without taking them from others, if it says so."""
    return _meminfo(root).get("MemAvailable")


@dataclass(frozen=True)
class Place:
    """Where a rank computes: its host, the cores it is bound to, and how many its control group gives it a share of."""

    host: str
    cores: frozenset[int]
    share: float

    @classmethod
    def here(cls, host: str) -> Place:
        """Return the place of this process."""
        bound = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        return cls(host, frozenset(bound), core_share())


def crowded(places: list[Place], threads: int) -> str:
    """Return what is wrong if ranks of `threads` threads in `places`, by rank, have not a core for each; or nothing."""
    for host in dict.fromkeys(place.host for place in places):
        here = [place for place in places if place.host == host]
        union = frozenset[int]().union(*(place.cores for place in here))
        cores = min(float(len(union)), *(place.share for place in here))
        wanted = f"{len(here)} rank{'s' * (len(here) > 1)} of {threads} thread{'s' * (threads > 1)} on {host}"
        if len(here) > 1 and len(union) == 1:
            return (
                f"{wanted} are all bound to core {min(union)} and take turns there; expected another binding, such as "
                "mpiexec --bind-to none or srun --cpu-bind=none"
            )
        if len(here) * threads > cores:
            return (
                f"{wanted}, but {cores:g} core{'s' * (cores != 1)}: they slow each other down; expected fewer ranks "
                "there, or a smaller schedule.threads"
            )
        if any(len(place.cores) < threads for place in here):
            return (
                f"schedule.threads = {threads}, but on {host} a rank is bound to {min(len(p.cores) for p in here)} of "
                "the cores; expected another binding, such as mpiexec --bind-to none or srun --cpu-bind=none"
            )
    return ""


def core_share(root: Path = Path("/")) -> float:
    """Return how many cores' time the control groups of this process give it."""
    shares = [float("inf")]
    for path in _groups(root, "cpu"):
        quota, period = ([*_text(path / "cpu.max").split(), "", ""])[:2]  # v2
        if not quota:
            quota, period = _text(path / "cpu.cfs_quota_us").strip(), _text(path / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            shares.append(int(quota) / int(period))
    return min(shares)


def _groups(root: Path, controller: str) -> list[Path]:
    """Return the directories of this process's control groups that may limit `controller`, the innermost first."""
    found: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = ([*line.split(":", 2), "", ""])[:3]
        if names and controller not in names.split(","):
            continue
        top = root / "sys/fs/cgroup"
        base = top / names if names and (top / names).is_dir() else top / controller if names else top
        inner = base / path.lstrip("/")
        # In a container the path may be that of the host, of which only the top is seen.
        found += [directory for directory in (inner, *inner.parents) if directory.is_relative_to(base)]
    return list(dict.fromkeys(found))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _meminfo(root: Path) -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    lines = (line.replace(":", " ").split() for line in _text(root / "proc/meminfo").splitlines())
    return {words[0]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[1].isdigit()}
