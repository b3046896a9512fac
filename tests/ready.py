"""Ranks that need not be started from nothing: copies of an interpreter that has imported and loaded everything.

Most of a short job's time is the start of Python, Numba and the kernels on each of its ranks. So such an interpreter is
kept (`keep`). What a launcher starts (`ask`, which imports next to nothing) hands it arguments, environment, directory,
standard streams and the launcher's socket, and ends as the copy ends that then runs as this rank: MPI starts there.
Signals that come to it are handed on. Where a test is of memory or of the start itself, or suspends ranks, they are
started from nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

#: In one of these a launcher names the rank that it starts.
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
#: A rank has handlers for these.
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def ask(place: str, arguments: list[str]) -> None:
    """Let a copy of the interpreter at the socket `place` run ``python arguments`` for this process; end as it does."""
    if "PMI_FD" not in os.environ and any(name in os.environ for name in _RANKS):
        os.execv(sys.executable, [sys.executable, *arguments])  # this launcher wants the rank to be its own process
    numbers = [0, 1, 2, *(int(os.environ[name]) for name in ("PMI_FD",) if name in os.environ)]
    request = repr((arguments, os.getcwd(), dict(os.environ), numbers)).encode()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(place)
        socket.send_fds(link, [len(request).to_bytes(4, "little")], numbers)
        link.sendall(request)
        if copy := int.from_bytes(link.recv(4), "little"):
            for number in _HANDED_ON:
                signal.signal(number, lambda number, _: os.kill(copy, number))
        answer = link.recv(4)
    status = int.from_bytes(answer, "little", signed=True) if answer else 1
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def keep(place: str) -> None:
    """Import and load everything, then run copies for those who ask at `place`, until standard input ends."""
    import gc
    from functools import cache
    from importlib import import_module
    from pkgutil import walk_packages

    from ffmpi import config, kernels
    from ffmpi.data import digits
    from ffmpi.run import directory
    from ffmpi.runtime import mpi

    for package in ("cli", "commands", "config", "data", "network", "rules", "run", "runtime", "schedule"):
        for module in walk_packages(import_module(f"ffmpi.{package}").__path__, f"ffmpi.{package}."):
            if ".bench" not in module.name:
                import_module(module.name)
    kernels.compile_all()
    kernels.available_threads(1)
    config.parse("", "", [])  # what it asks of the tables' types is kept
    # What stays the same is read once.
    digits.table = cache(digits.table)
    directory._commit, directory.version = cache(directory._commit), cache(directory.version)
    digits.table(), directory.environment()
    mpi._SPIN = 0.0  # cores are wanted by other tests
    assert "mpi4py.MPI" not in sys.modules
    assert len(os.listdir("/proc/self/task")) == 1  # a copy has no other threads
    gc.freeze()
    request, streams = _wait(place)
    _end(_run(*_become(request, streams)))


def _wait(place: str) -> tuple[bytes, list[int]]:
    """Return a request and its streams, each time in another copy of this process."""
    import selectors

    copies: dict[socket.socket, int] = {}
    with socket.socket(socket.AF_UNIX) as door, selectors.DefaultSelector() as events:
        door.bind(place)
        door.listen(64)
        print("ready", flush=True)
        events.register(0, selectors.EVENT_READ)
        events.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fileobj == 0:
                    os._exit(0)
                elif key.fileobj is door:
                    link = door.accept()[0]
                    size, streams, _, _ = socket.recv_fds(link, 4, 4)
                    with link.makefile("rb") as file:
                        request = file.read(int.from_bytes(size, "little"))
                    copies[link] = os.fork()
                    if copies[link] == 0:
                        for other in copies:
                            other.close()
                        return request, streams
                    for stream in streams:
                        os.close(stream)
                    _answer(link, copies[link])
                    events.register(link, selectors.EVENT_READ)
                    events.register(os.pidfd_open(copies[link]), selectors.EVENT_READ, link)
                elif key.data is None:  # whoever has asked was killed
                    events.unregister(key.fileobj)
                    if key.fileobj in copies:
                        os.kill(copies[key.fileobj], signal.SIGKILL)
                else:
                    events.unregister(key.fd)
                    os.close(key.fd)
                    _answer(key.data, os.waitstatus_to_exitcode(os.waitpid(copies.pop(key.data), 0)[1]))
                    if key.data in events.get_map():
                        events.unregister(key.data)
                    key.data.close()


def _answer(link: socket.socket, number: int) -> None:
    try:
        link.send(number.to_bytes(4, "little", signed=True))
    except OSError:  # killed meanwhile
        return


def _become(request: bytes, streams: list[int]) -> list[str]:
    """Take over environment, directory and streams of who has asked, and return its arguments."""
    import fcntl
    from ast import literal_eval

    arguments, folder, environment, numbers = literal_eval(request.decode())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # First out of the way of the numbers that they had.
    aside = [fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 1000) for stream in streams]
    for stream in streams:
        os.close(stream)
    for stream, number in zip(aside, numbers, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    return arguments


def _run(first: str, *rest: str) -> int:
    """Do what ``python first *rest`` does, where `first` is -m, -c or a script, and return the status."""
    import runpy
    from types import ModuleType

    try:
        if first == "-m":
            sys.argv, sys.path[0] = [*rest], os.getcwd()
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        else:
            sys.argv, sys.path[0] = [first, *rest], os.path.dirname(os.path.abspath(first))
            runpy.run_path(first, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(status: int) -> None:
    """Do what Python does at its end, but for taking everything apart, which costs more than a short run."""
    import atexit
    import ctypes

    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = 120
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi and mpi.Is_initialized():
        if not mpi.Is_finalized():
            mpi.Finalize()
        ctypes.PyDLL(None).exit(status)  # where MPICH takes its leave of the launcher
    os._exit(status)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        ask(sys.argv[1], sys.argv[2:])
    else:
        keep(sys.argv[1])
