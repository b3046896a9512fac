"""Fetch the files of a public data set and verify them, by pooch.

A file appears under its name only when all of it has arrived and its checksum is the published one: until then it has
another name in the same directory. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import pooch.hashes
import requests

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
    store = pooch.create(place, base, registry={remote.name: _known_hash(remote) for remote in source.files})
    return [_fetch(store, remote, place / remote.name) for remote in source.files]


class _UnpackedMD5:
    """MD5 of what a gzip stream unpacks to. MD5 is what the authors published; it guards against accidents and against
    another file passed off as theirs, which needs a second preimage.
    """

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._gzip = zlib.decompressobj(wbits=31)
        self._broken = False

    def update(self, data: bytes) -> None:
        try:
            while data and not self._broken:
                if self._gzip.eof:  # another gzip member follows
                    self._gzip = zlib.decompressobj(wbits=31)
                self._md5.update(self._gzip.decompress(data))
                data = self._gzip.unused_data
        except zlib.error:
            self._broken = True

    def hexdigest(self) -> str:
        return self._md5.hexdigest() if self._gzip.eof and not self._broken else "no gzip file"


#: To pooch one more algorithm, so that any recompression of the published content passes.
pooch.hashes.ALGORITHMS_AVAILABLE["unpacked-md5"] = _UnpackedMD5

pooch.get_logger().setLevel("WARNING")  # what is told is told by the command


def _known_hash(remote: Remote) -> str:
    return f"{'unpacked-md5' if remote.unpacked else 'md5'}:{remote.md5}"


def _fetch(store: pooch.Pooch, remote: Remote, target: Path) -> Path:
    plain = target.with_suffix("")
    if remote.unpacked and plain.is_file() and pooch.file_hash(plain, alg="md5") == remote.md5:
        return plain
    try:
        store.fetch(remote.name, downloader=_transfer)
    except ValueError as error:
        kind = "content" if remote.unpacked else "file"
        raise _failure(store, target, f"the {kind} does not have the published MD5 {remote.md5}") from error
    except _TransferError as error:
        raise _failure(store, target, str(error)) from error
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{target}: cannot be written ({reason}), expected a writable directory with space") from error
    return target


def _failure(store: pooch.Pooch, target: Path, what: str) -> UserError:
    advice = f"try again, give another address, or put the file into {target.parent} yourself"
    return UserError(f"{store.get_url(target.name)}: {what}; {advice}")


class _TransferError(Exception):
    """What went wrong between here and the server, in words that follow the file's address."""


def _transfer(url: str, part: str, store: pooch.Pooch) -> None:
    """Copy `url` to the temporary file `part` of pooch. Errors of the disk are raised as the OSError they are."""
    answer: requests.Response | None = None

    def begin(response: requests.Response, **_: object) -> None:
        nonlocal answer
        # Servers that tell of a .gz by this header mean the file itself, which requests would unpack.
        response.raw.headers.pop("Content-Encoding", None)
        answer = response if response.ok and not response.is_redirect else None

    headers = {"User-Agent": "ffmpi", "Accept-Encoding": "identity"}
    get = pooch.HTTPDownloader(chunk_size=CHUNK, timeout=TIMEOUT, headers=headers, hooks={"response": begin})
    os.unlink(part)  # which only its owner may read, but data sets are shared
    with open(part, "xb") as output:
        try:
            get(url, output, store)
        except requests.HTTPError as error:
            raise _TransferError(f"the server answered {error.response.status_code} {error.response.reason}") from error
        except (OSError, ValueError) as error:
            if answer is None:
                raise _TransferError(f"no connection ({_reason(error)})") from error
            if not isinstance(error, requests.RequestException):
                raise
            total = answer.headers.get("Content-Length")
            done = f"{answer.raw.tell()} of {total}" if total else answer.raw.tell()
            raise _TransferError(f"broke off after {done} bytes ({_reason(error)})") from error
        os.fsync(output.fileno())


def _reason(error: BaseException) -> str:
    """One line on what went wrong: requests and urllib3 hide the cause in the causes of their errors."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
