"""Files that outlive a crash: on the disk, and under their names in one step."""

from __future__ import annotations

import errno
import os
import shutil
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
