"""What a machine can do: figures of its cores, messages and disk, that `ffmpi bench machine` measures or a file gives.

A file is TOML, with the fields of `Machine` and of the tables in it. It is read as untrusted input.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import tomli_w
from msgspec import Meta

from ..config.convert import BadValue, build, check_names, fields_of, table_in
from ..config.fields import Count, Positive, Table
from ..config.registry import OneOf
from ..errors import UserError, nearest, warn
from ..run.directory import processor
from ..schedule.core import Core
from ..schedule.steps import Step

_Bytes = Annotated[list[Annotated[int, Meta(ge=0, le=2**40)]], Meta(min_length=1, max_length=64)]
_Seconds = Annotated[list[Annotated[float, Meta(ge=0, le=1e6)]], Meta(min_length=1, max_length=64)]


_Text = Annotated[str, Meta(max_length=1000)]


class Messages(Table, frozen=True, kw_only=True):
    """What messages of some sizes take between two ranks; between these sizes, and beyond, times go straight on.

    Attributes
    ----------
    bytes : sizes, ascending
    seconds : of each, from when it is sent to when it can be used
    overhead : of each, how long it keeps a core busy at either end
    """

    bytes: _Bytes
    seconds: _Seconds
    overhead: _Seconds

    def transfer(self, size: float) -> float:
        """Return the seconds from when a message of `size` bytes is sent to when it can be used."""
        return _between(self.bytes, self.seconds, size)

    def busy(self, size: float) -> float:
        """Return the seconds for which a message of `size` bytes keeps a core busy at either end."""
        return _between(self.bytes, self.overhead, size)


def _between(sizes: Sequence[int], values: Sequence[float], size: float) -> float:
    """Return the value at `size` on the line through the two nearest points."""
    if len(sizes) == 1:
        return values[0]
    at = min(max(bisect_left(sizes, size), 1), len(sizes) - 1)
    (left, right), (low, high) = sizes[at - 1 : at + 1], values[at - 1 : at + 1]
    return max(0.0, low + (high - low) * (size - left) / (right - left))


class Machine(Table, frozen=True, kw_only=True):
    """A host of which there may be many, and the network between them. Sizes are bytes, rates a second.

    Attributes
    ----------
    name, source : of the machine, and where its figures are from, for people
    processor : as the system calls it; measured : whether `ffmpi bench machine` made the figures
    cores, memory, disk, card : of a host: cores, bytes of memory, bytes/s of writing a checkpoint, and of its network
        card each way
    core : a core while all of the host's are busy; alone : while the others are idle
    inside, between : messages between two ranks of a host, and of two hosts
    """

    name: _Text
    source: _Text
    processor: _Text = ""
    measured: bool = False
    cores: Count
    memory: Positive
    disk: Positive
    card: Positive
    core: Core
    alone: Core
    inside: Messages
    between: Messages

    def core_with(self, busy: float) -> Core:
        """Return the figures of a core of a host on which `busy` cores compute, in the mean."""
        if busy >= self.cores or self.alone == self.core:
            return self.core
        return self.alone.towards(self.core, max(0.0, busy - 1) / (self.cores - 1))

    def transfer(self, size: float, same_host: bool) -> float:
        """Return the seconds from when `size` bytes are sent to when they can be used, with no other message about."""
        return (self.inside if same_host else self.between).transfer(size)

    def overhead_s(self, size: float, same_host: bool = True) -> float:
        """Return the seconds for which a message of `size` bytes keeps a core busy, at either end."""
        return (self.inside if same_host else self.between).busy(size)

    @property
    def here(self) -> bool:
        """Whether the figures were measured on this host, or on one like it."""
        return self.measured and (self.processor, self.cores) == (processor(), os.cpu_count())

    @property
    def told(self) -> str:
        """The name, and whether the figures were measured here."""
        return self.name if self.here else f"{self.name}, not measured here"


# Files ----------------------------------------------------------------------------------------------------------------


def shipped() -> dict[str, Any]:
    """Return the files of typical machines, by name."""
    found = (file for file in files(__package__).joinpath("machines").iterdir() if file.name.endswith(".toml"))
    return {file.name.removesuffix(".toml"): file for file in sorted(found, key=lambda file: file.name)}


def read_machine(name_or_path: str) -> Machine:
    """Return the machine in a file, or a shipped one by its name; "here" is `find_machine`'s.

    Raises UserError for what cannot be read, an unknown name, or figures that make no sense.
    """
    if name_or_path == "here":
        return find_machine()
    known = shipped()
    if name_or_path in known:
        return parse_machine(known[name_or_path].read_text(encoding="utf-8"), name_or_path)
    names = ", ".join(["here", *known])
    if not os.path.exists(name_or_path) and not name_or_path.endswith(".toml") and os.sep not in name_or_path:
        raise UserError(f"machine {name_or_path!r}: expected a file or one of {names}{nearest(name_or_path, known)}")
    try:
        with open(name_or_path, "rb") as file:
            text = file.read(_MOST_BYTES + 1).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = "no UTF-8 text" if isinstance(error, UnicodeError) else getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name_or_path}: cannot be read ({reason}); expected a machine's TOML file") from None
    return parse_machine(text, name_or_path)


#: A file of a machine has 5 kB.
_MOST_BYTES = 1 << 20


def parse_machine(text: str, source: str) -> Machine:
    """Return the machine in `text`, which came from `source`. Raises UserError for figures that make no sense."""
    if len(text) > _MOST_BYTES:
        raise UserError(f"{source}: more than 1 MB; expected a machine's TOML file")
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: not valid TOML: {error or 'nested too deeply'}") from None
    check_names(Machine, given, source)
    given.setdefault("alone", given.get("core", {}))
    _check_complete(Machine, given, source)
    try:
        machine: Machine = build(Machine, given)
    except BadValue as error:
        raise UserError(f"{source}: {error}") from None
    for name in ("core", "alone"):
        for step, seconds in getattr(machine, name).steps.items():
            if step not in _STEPS or not math.isfinite(seconds):
                raise UserError(
                    f"{source}: {name}.steps.{step} = {seconds}: expected seconds of a step{nearest(step, _STEPS)}"
                )
    for name in ("inside", "between"):
        _check_messages(getattr(machine, name), f"{source}: {name}")
    return machine


#: The names of steps.
_STEPS = [step.__name__ for step in get_args(Step)]


def _check_complete(table: type[Table], values: dict[str, Any], source: str, prefix: str = "") -> None:
    """Refuse tables without all the figures that have no default."""
    kinds = fields_of(table)
    for field in msgspec.structs.fields(table):
        inner, where = table_in(kinds[field.name]), prefix + field.name
        if field.name not in values:
            if field.required:
                raise UserError(f"{source}: {where} is missing; expected {'a table' if inner else 'a value'}")
        elif inner is not None:
            assert not isinstance(inner, OneOf)
            _check_complete(inner, values[field.name], source, f"{where}.")


def _check_messages(messages: Messages, where: str) -> None:
    """Refuse figures of messages that do not go together."""
    sizes = messages.bytes
    if any(left >= right for left, right in pairwise(sizes)):
        raise UserError(f"{where}.bytes: expected sizes that ascend")
    for name in ("seconds", "overhead"):
        if (count := len(getattr(messages, name))) != len(sizes):
            raise UserError(f"{where}.{name} has {count} entries; expected {len(sizes)}, one for each of bytes")


def write_machine(machine: Machine, path: Path) -> None:
    """Write a machine's file. Raises UserError if that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(tomli_w.dumps(msgspec.to_builtins(machine)), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); expected a place for a file") from None


def measured_path() -> Path:
    """Return where the figures of hosts like this one lie: in the user's cache, by processor and number of cores."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    kind = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")[:80]
    return Path(base) / "ffmpi" / "machines" / f"{kind}-{os.cpu_count()}-cores.toml"


def find_machine() -> Machine:
    """Return the machine that was measured here, or else a shipped one that is like it."""
    if os.path.exists(path := measured_path()):
        return read_machine(str(path))
    return typical_machine()


def typical_machine() -> Machine:
    """Return the shipped machine that is like this one."""
    return read_machine("epyc-avx512" if _wide() else "epyc-avx2")


def machine_here() -> Machine | None:
    """Return the machine that was measured here, if one was; of a file that makes no sense a warning tells."""
    if not os.path.exists(path := measured_path()):
        return None
    try:
        found = read_machine(str(path))
    except UserError as error:
        warn(f"{error}; it is left unread")
        return None
    return found if found.here else None


def _wide() -> bool:
    """Whether this host's processor has AVX-512."""
    try:
        return " avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
