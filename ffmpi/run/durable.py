"""Files that outlive a crash: on the disk, and under their names in one step."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

#: What file systems answer that cannot put a file, or a directory, on the disk at once.
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)


def sync(descriptor: int) -> None:
    """Put a file, or a directory, on the disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


class Syncing(threading.Thread):
    """Puts a file on the disk, which takes its time, while other things are done."""

    def __init__(self, path: Path) -> None:
        """Begin to."""
        super().__init__(daemon=True)
        self._path = path
        self._error: OSError | None = None
        self.start()

    def run(self) -> None:
        """Do it, in a thread of its own."""
        try:
            with open(self._path, "rb+") as file:
                sync(file.fileno())
        except OSError as error:
            self._error = error

    def finish(self) -> None:
        """Wait for the end. Raises OSError where the file could not be written."""
        self.join()
        if self._error:
            raise self._error


def sync_directory(path: Path) -> None:
    """Put a directory's names on the disk, where that can be."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # one may write there without reading
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def keep(file: Path, name: Path) -> None:
    """Give `file` a second name, in one step, or where the file system cannot do that make a copy."""
    partial = name.with_name(name.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(file, partial)
    except OSError:
        shutil.copyfile(file, partial)
    os.replace(partial, name)
