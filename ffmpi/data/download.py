"""Fetch the files of a public data set and verify them.

A file appears under its name only when all of it has arrived and its checksum is the published one: until then it has
another name in the same directory. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import urllib.request
import zlib
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ..errors import UserError, nearest
from . import FORMATS
from .known import Remote

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16  # a chunk of a hostile .gz may unpack to 1032 times this much, which is still little


def download(name: str, directory: str | Path, base_url: str | None = None) -> list[Path]:
    """Fetch what is missing of the data set `name` into `directory` (made if need be); return the paths of its files.

    A file which is there and good is kept; one which is there and is not the published one is replaced. `base_url` is
    the address of another server's directory. Raises UserError for a wrong name or address, and when a file cannot be
    fetched, verified or written; then nothing is left of that file but what was there before.
    """
    source = FORMATS[name].source if name in FORMATS else None
    if source is None:
        known = [name for name, one in FORMATS.members().items() if one.source]
        raise UserError(f"data set {name!r} cannot be downloaded, expected {', '.join(known)}{nearest(name, known)}")
    base = (base_url or source.url).rstrip("/") + "/"
    try:
        valid = urlsplit(base).scheme in ("http", "https") and bool(urlsplit(base).hostname)
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"{base}: not an address to download from, expected an http:// or https:// address")
    place = Path(os.path.expanduser(directory))
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{place}: cannot be made ({error.strerror}), expected a directory to write into") from error
    return [_fetch(base + remote.name, remote, place / remote.name) for remote in source.files]


class _Digest:
    """MD5 of a stream, or of what a gzip stream unpacks to. MD5 is what the authors published; it guards against
    accidents and against another file passed off as theirs, which needs a second preimage.
    """

    def __init__(self, unpacked: bool) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._unpacked = unpacked
        self._gzip = zlib.decompressobj(wbits=31)

    def update(self, data: bytes) -> None:
        while self._unpacked and data:
            if self._gzip.eof:  # another gzip member follows
                self._gzip = zlib.decompressobj(wbits=31)
            self._md5.update(self._gzip.decompress(data))
            data = self._gzip.unused_data
        self._md5.update(data)

    def matches(self, md5: str) -> bool:
        return self._md5.hexdigest() == md5 and (self._gzip.eof or not self._unpacked)


def _is_good(file: Path, md5: str, unpacked: bool) -> bool:
    digest = _Digest(unpacked)
    with suppress(OSError, zlib.error), file.open("rb") as stream:
        while data := stream.read(CHUNK):
            digest.update(data)
        return digest.matches(md5)
    return False


def _fetch(url: str, remote: Remote, target: Path) -> Path:
    plain = target.with_suffix("")
    if remote.unpacked and _is_good(plain, remote.md5, unpacked=False):
        return plain
    if _is_good(target, remote.md5, remote.unpacked):
        return target
    # Opened by hand and not by tempfile, whose files only their owner may read: data sets are shared.
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            output = part.open("xb")
        except OSError as error:
            raise UserError(f"{target}: cannot be written ({error.strerror}), expected a writable directory") from error
        with output:
            _transfer(url, remote, output, target)
        part.replace(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}), expected free space for {url}") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _transfer(url: str, remote: Remote, output: IO[bytes], target: Path) -> None:
    """Copy `url` to `output`, verifying on the way. Errors of `output` are raised as the OSError they are."""
    advice = f"try again, give another address, or put the file into {target.parent} yourself"
    digest, done = _Digest(remote.unpacked), 0
    request = urllib.request.Request(url, headers={"User-Agent": "ffmpi"})
    try:
        response = _opener().open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        raise UserError(f"{url}: the server answered {error.code} {error.reason}; {advice}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"{url}: no connection ({_reason(error)}); {advice}") from error
    with response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        while True:
            try:
                data = response.read(CHUNK)
            except (OSError, HTTPException) as error:
                raise UserError(f"{url}: broke off after {done} bytes ({_reason(error)}); {advice}") from error
            if not data:
                break
            done += len(data)
            with suppress(zlib.error):  # not gzip: the digest then stays wrong
                digest.update(data)
            output.write(data)
    if total is not None and done < total:
        raise UserError(f"{url}: broke off after {done} of {total} bytes; {advice}")
    if not digest.matches(remote.md5):
        kind = "content" if remote.unpacked else "file"
        raise UserError(f"{url}: the {kind} does not have the published MD5 {remote.md5}; {advice}")
    output.flush()
    os.fsync(output.fileno())


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https only, so that no redirection leads to ftp: or file:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _reason(error: Exception) -> str:
    """One line on what went wrong: URLError hides the cause in its reason."""
    cause = error.reason if isinstance(error, URLError) else error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(text.split())
