"""Downloads, from a server on this machine: good files arrive whole, and nothing else ever bears their name."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ffmpi import data
from ffmpi.data import download as download_module
from ffmpi.data.download import download
from ffmpi.data.format import Format
from ffmpi.data.known import Remote, Source
from ffmpi.errors import UserError

CONTENT = bytes(range(256)) * 1000
PACKED = gzip.compress(CONTENT)


@dataclass
class Server:
    """What a path answers: bytes; an int, a status; or a str, a place to redirect to."""

    url: str
    answers: dict[str, bytes | int | str] = field(default_factory=dict)
    promised: int | None = None  # the Content-Length to send instead of the true one, 0 for none at all
    encoding: str = ""  # the Content-Encoding to send
    stall: float = 0.0  # seconds to wait after the header
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers["User-Agent"]))
            answer = state.answers.get(self.path.lstrip("/"), 404)
            if isinstance(answer, int):
                self.send_error(answer)
                return
            if isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                self.end_headers()
                return
            self.send_response(200)
            if state.promised != 0:
                self.send_header("Content-Length", str(state.promised or len(answer)))
            if state.encoding:
                self.send_header("Content-Encoding", state.encoding)
            self.end_headers()
            time.sleep(state.stall)
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        state = Server(f"http://127.0.0.1:{http.server_address[1]}/")
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        http.shutdown()


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Two small sets: one verified by its content, one by the file."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    by_content = Remote("tiny.gz", hashlib.md5(CONTENT).hexdigest(), unpacked=True)
    by_file = Remote("whole.gz", hashlib.md5(PACKED).hexdigest())
    sets = {"tiny": (by_content,), "whole": (by_file,)}
    small = {name: Format(name, "a small set", source=Source(server.url, files)) for name, files in sets.items()}
    monkeypatch.setattr("ffmpi.data.download.FORMATS", Sets(data.FORMATS.members() | small))
    server.answers |= {"tiny.gz": PACKED, "whole.gz": PACKED}


class Sets(dict[str, Format]):
    """Formats by name, as a registry has them."""

    def members(self) -> dict[str, Format]:
        return self


def refused(name: str, directory: Path, *fragments: object, base_url: str | None = None) -> None:
    before = {file: file.read_bytes() for file in directory.glob("*")} if directory.is_dir() else {}
    with pytest.raises(UserError) as caught:
        download(name, directory, base_url)
    text = str(caught.value)
    assert "\n" not in text and not text.endswith("."), text
    for fragment in fragments:
        assert str(fragment) in text, text
    if directory.is_dir():
        assert before == {file: file.read_bytes() for file in directory.iterdir()}  # iterdir also lists hidden files


def test_sources_are_complete() -> None:
    mnist = data.FORMATS["mnist"]
    assert [remote.name for remote in mnist.source.files] == [f"{file.name}.gz" for file in mnist.files]
    for name in ("mnist", "fashion-mnist", "cifar10"):
        source = data.FORMATS[name].source
        assert source.url.endswith("/")
        assert all(len(bytes.fromhex(remote.md5)) == 16 for remote in source.files)


def test_good_file(tmp_path: Path, server: Server) -> None:
    place = tmp_path / "new" / "place"
    assert download("tiny", place) == [place / "tiny.gz"]
    assert (place / "tiny.gz").read_bytes() == PACKED
    assert [file.name for file in place.iterdir()] == ["tiny.gz"]
    assert server.asked == [("/tiny.gz", "ffmpi")]


def test_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    (file,) = download("whole", tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_good_file_is_not_fetched_again(tmp_path: Path, server: Server) -> None:
    for name in ("tiny", "whole"):
        download(name, tmp_path)
        server.asked.clear()
        assert download(name, tmp_path) == [tmp_path / f"{name}.gz"]
        assert not server.asked
    (tmp_path / "tiny.gz").unlink()
    (tmp_path / "tiny").write_bytes(CONTENT)
    assert download("tiny", tmp_path) == [tmp_path / "tiny"] and not server.asked


def test_bad_file_is_replaced(tmp_path: Path) -> None:
    for wrong in (b"", b"<html>", PACKED[:-10], gzip.compress(b"another")):
        (tmp_path / "tiny.gz").write_bytes(wrong)
        download("tiny", tmp_path)
        assert (tmp_path / "tiny.gz").read_bytes() == PACKED


def test_any_recompression_of_the_content_will_do(tmp_path: Path, server: Server) -> None:
    # Two gzip members, so also a chunk which ends one and begins the other.
    server.answers["tiny.gz"] = gzip.compress(CONTENT[:1000], 1) + gzip.compress(CONTENT[1000:], 9)
    download("tiny", tmp_path)
    server.answers["whole.gz"] = gzip.compress(CONTENT, 1)
    refused("whole", tmp_path, server.url + "whole.gz", "does not have the published MD5")


def test_packed_file_stays_packed_whatever_the_server_calls_it(tmp_path: Path, server: Server) -> None:
    server.encoding = "gzip"
    for name in ("tiny", "whole"):
        download(name, tmp_path)
        assert (tmp_path / f"{name}.gz").read_bytes() == PACKED


@pytest.mark.parametrize("answer", [b"", b"<html>", PACKED[:-10], PACKED + b"x", gzip.compress(CONTENT[1:])])
def test_corrupted_file(tmp_path: Path, server: Server, answer: bytes) -> None:
    server.answers["tiny.gz"] = answer
    refused("tiny", tmp_path, f"{server.url}tiny.gz", "MD5", hashlib.md5(CONTENT).hexdigest(), tmp_path)


def test_failure_keeps_what_was_there(tmp_path: Path, server: Server) -> None:
    (tmp_path / "tiny.gz").write_bytes(b"older")
    server.answers["tiny.gz"] = 404
    refused("tiny", tmp_path, "404")
    assert (tmp_path / "tiny.gz").read_bytes() == b"older"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_http_error(tmp_path: Path, server: Server, status: int) -> None:
    server.answers["tiny.gz"] = status
    refused("tiny", tmp_path, f"{server.url}tiny.gz: the server answered {status}", "give another address")


def test_truncated_transfer(tmp_path: Path, server: Server) -> None:
    server.promised = 2 * len(PACKED)
    refused("tiny", tmp_path, f"broke off after {len(PACKED)} of {2 * len(PACKED)} bytes")
    server.promised, server.answers["tiny.gz"] = 0, PACKED[:-1]  # no length to compare with: the checksum tells
    refused("tiny", tmp_path, "MD5")


def test_stalled_transfer(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT", 0.1)
    server.stall = 0.5
    refused("tiny", tmp_path, f"broke off after 0 of {len(PACKED)} bytes (timed out)")


def test_no_server(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        refused("tiny", tmp_path, f"{url}/tiny.gz: no connection (Connection refused)", base_url=url)
    refused("tiny", tmp_path, "no connection", base_url="http://name.invalid/")


def test_not_http(tmp_path: Path, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def nonsense() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=nonsense, daemon=True).start()
        refused("tiny", tmp_path, "no connection", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/", "/etc", "127.0.0.1:80", "http://", "http://[::1"])
def test_only_http_addresses(tmp_path: Path, url: str) -> None:
    refused("tiny", tmp_path, url.rstrip("/"), "expected an http:// or https:// address", base_url=url)


def test_redirection(tmp_path: Path, server: Server) -> None:
    server.answers["tiny.gz"] = "/elsewhere.gz"
    server.answers["elsewhere.gz"] = PACKED
    download("tiny", tmp_path)
    (tmp_path / "tiny.gz").unlink()
    (tmp_path / "local.gz").write_bytes(PACKED)
    for target in (f"file://{tmp_path}/local.gz", "ftp://127.0.0.1/tiny.gz"):
        server.answers["tiny.gz"] = target
        refused("tiny", tmp_path, f"{server.url}tiny.gz")


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused("tiny", tmp_path, f"{tmp_path}/tiny.gz: cannot be written (No space left on device)", "tiny.gz")


def test_directory_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused("tiny", tmp_path / "file", tmp_path / "file", "expected a directory")
    (tmp_path / "tiny.gz").mkdir()
    with pytest.raises(UserError, match=r"tiny\.gz: cannot be written"):
        download("tiny", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "tiny.gz"]


def test_interrupt_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(descriptor: int) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        download("tiny", tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_name(tmp_path: Path) -> None:
    refused("fasion-mnist", tmp_path, "'fasion-mnist'", "did you mean 'fashion-mnist'?")
    refused("digits", tmp_path, "'digits' cannot be downloaded", "mnist, fashion-mnist, cifar10")


def test_downloaded_files_can_be_loaded(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {
        "t10k-images-idx3-ubyte": b"\0\0\x08\x03" + b"\0\0\0\x02" + b"\0\0\0\x1c" * 2 + bytes(2 * 784),
        "t10k-labels-idx1-ubyte": b"\0\0\x08\x01" + b"\0\0\0\x02" + b"\x03\x09",
    }
    server.answers |= {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}
    remotes = tuple(Remote(f"{n}.gz", hashlib.md5(c).hexdigest(), unpacked=True) for n, c in contents.items())
    mnist = replace(data.FORMATS["mnist"], source=Source(server.url, remotes))
    monkeypatch.setattr("ffmpi.data.download.FORMATS", Sets(mnist=mnist))
    download("mnist", tmp_path)
    assert data.load("mnist", str(tmp_path), "test").classes.tolist() == [3, 9]
