"""Downloading from a real local server that cuts, lies, dawdles and redirects."""

from __future__ import annotations

import gzip
import random
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unimp_bench.data import download
from unimp_bench.data.download import Remote, fetch
from unimp_bench.data.network import Manners
from unimp_bench.data.parts import Part, flaw, looks_like_html, sha256_of
from unimp_bench.errors import ConfigError, IncompleteError, NetworkError
from unimp_bench.progress import Silent

HASTY = Manners(
    connect_seconds=1,
    read_seconds=0.3,
    stall_seconds=0.3,
    stall_bytes=1000,
    attempts=3,
    first_pause=0.01,
    longest_pause=0.05,
)
BODY = gzip.compress(random.Random(0).randbytes(300_000), mtime=0)


class Counting(Silent):
    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        self.total = total

    def advance(self, count: int = 1) -> None:
        self.done += count


def digest(tmp_path: Path, body: bytes = BODY) -> str:
    (tmp_path / "copy").write_bytes(body)
    return sha256_of(tmp_path / "copy")


def get(shelf, folder: Path, path: str = "/a.gz", **known) -> Path:
    remote = Remote(shelf.url(path), "a.gz", **known)
    return fetch([remote], folder, Silent(), allow_private=True, manners=HASTY)[0]


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != ".download.lock")


def test_files_come_whole_in_order_and_are_not_asked_for_twice(shelf, tmp_path):
    bodies = {f"f{i}.gz": gzip.compress(bytes([i]) * 50_000, mtime=0) for i in range(6)}
    for name, body in bodies.items():
        shelf.resumable(f"/{name}", body)
    remotes = [Remote(shelf.url(f"/{name}"), name, len(body)) for name, body in bodies.items()]
    counting = Counting()
    paths = fetch(remotes, tmp_path / "raw", counting, allow_private=True, manners=HASTY)
    assert [p.read_bytes() for p in paths] == list(bodies.values())
    assert counting.done == counting.total == sum(map(len, bodies.values()))
    assert leftovers(tmp_path / "raw") == sorted(bodies)
    before = len(shelf.asked)
    counting = Counting()
    assert fetch(remotes, tmp_path / "raw", counting, allow_private=True, manners=HASTY) == paths
    assert len(shelf.asked) == before and counting.done == counting.total


def test_a_finished_file_of_the_wrong_checksum_is_fetched_again(shelf, tmp_path):
    shelf.resumable("/a.gz", BODY)
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.gz").write_bytes(BODY[:-1] + b"?")
    assert get(shelf, folder, sha256=digest(tmp_path)).read_bytes() == BODY


def test_a_cut_transfer_goes_on_where_it_broke_off(shelf, tmp_path):
    shelf.resumable("/a.gz", BODY, cut_after=100_000)
    assert get(shelf, tmp_path / "raw").read_bytes() == BODY
    assert shelf.asked == [("/a.gz", None), ("/a.gz", "bytes=100000-")]


def test_a_cut_of_an_earlier_run_goes_on(shelf, tmp_path):
    folder = tmp_path / "raw"
    begin_part(folder, shelf.url("/a.gz"), BODY[:4321], '"v1"')
    shelf.resumable("/a.gz", BODY)
    counting = Counting()
    remote = Remote(shelf.url("/a.gz"), "a.gz", len(BODY))
    fetch([remote], folder, counting, allow_private=True, manners=HASTY)
    assert shelf.asked == [("/a.gz", "bytes=4321-")]
    assert counting.done == len(BODY)
    assert leftovers(folder) == ["a.gz"] and (folder / "a.gz").read_bytes() == BODY


def begin_part(folder: Path, url: str, data: bytes, etag: str | None) -> None:
    folder.mkdir()
    part = Part(folder / "a.gz")
    part.begin(url, etag, None)
    with part.opened() as file:
        file.write(data)


@pytest.mark.parametrize(
    ("etag", "data"),
    [('"v0"', BODY[::-1][:5000]), (None, BODY[::-1][:5000]), ('"v1"', BODY + b"more"), ('W/"v1"', b"x" * 10)],
    ids=["another version", "version unknown", "longer than the file", "weak version"],
)
def test_a_part_of_no_use_is_begun_anew(shelf, tmp_path, etag, data):
    begin_part(tmp_path / "raw", shelf.url("/a.gz"), data, etag)
    shelf.resumable("/a.gz", BODY)
    assert (
        get(shelf, tmp_path / "raw", sha256=digest(tmp_path) if etag and etag.startswith("W") else None).read_bytes()
        == BODY
    )


def test_a_part_of_another_address_is_begun_anew(shelf, tmp_path):
    begin_part(tmp_path / "raw", shelf.url("/other.gz"), b"x" * 5000, '"v1"')
    shelf.resumable("/a.gz", BODY)
    assert get(shelf, tmp_path / "raw").read_bytes() == BODY
    assert shelf.asked == [("/a.gz", None)]


def test_a_server_that_knows_no_ranges_sends_all_again(shelf, tmp_path):
    begin_part(tmp_path / "raw", shelf.url("/a.gz"), b"x" * 5000, '"v1"')
    shelf.bytes("/a.gz", BODY, ETag='"v1"')
    counting = Counting()
    fetch([Remote(shelf.url("/a.gz"), "a.gz")], tmp_path / "raw", counting, allow_private=True, manners=HASTY)
    assert (tmp_path / "raw" / "a.gz").read_bytes() == BODY
    assert counting.done == len(BODY)


def test_a_server_that_ignores_the_version_is_caught_by_its_etag(shelf, tmp_path):
    begin_part(tmp_path / "raw", shelf.url("/a.gz"), b"x" * 5000, '"v0"')
    rest = BODY[5000:]
    shelf.bytes("/partial", rest, 206, ETag='"v1"', Content_Range=f"bytes 5000-{len(BODY) - 1}/{len(BODY)}")
    shelf.bytes("/whole", BODY, ETag='"v1"')
    shelf.sequence("/a.gz", shelf.routes["/partial"], shelf.routes["/whole"])
    assert get(shelf, tmp_path / "raw").read_bytes() == BODY


def test_a_whole_part_needs_no_more_bytes(shelf, tmp_path):
    begin_part(tmp_path / "raw", shelf.url("/a.gz"), BODY, '"v1"')
    shelf.resumable("/a.gz", BODY)
    assert get(shelf, tmp_path / "raw").read_bytes() == BODY
    assert shelf.asked == [("/a.gz", f"bytes={len(BODY)}-")]


def test_damaged_older_bytes_are_fetched_anew_once(shelf, tmp_path):
    begin_part(tmp_path / "raw", shelf.url("/a.gz"), b"x" * 5000, '"v1"')
    shelf.resumable("/a.gz", BODY)
    assert get(shelf, tmp_path / "raw", sha256=digest(tmp_path)).read_bytes() == BODY
    assert shelf.asked == [("/a.gz", "bytes=5000-"), ("/a.gz", None)]


@pytest.mark.parametrize("off", [-1, 1])
def test_wrong_size_is_told_and_leaves_nothing(shelf, tmp_path, off):
    shelf.resumable("/a.gz", BODY)
    with pytest.raises(NetworkError, match=f"{len(BODY)} bytes of a.gz, expected {len(BODY) + off}"):
        get(shelf, tmp_path / "raw", size=len(BODY) + off)
    assert leftovers(tmp_path / "raw") == []
    assert len(shelf.asked) == 1


def test_an_endless_file_stops_at_the_size_it_should_have(shelf, tmp_path):
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not shelf.closing.is_set():
            request.wfile.write(BODY)

    shelf.routes["/a.gz"] = endless
    with pytest.raises(NetworkError, match="more than 1000000"):
        get(shelf, tmp_path / "raw", size=1_000_000)
    assert leftovers(tmp_path / "raw") == []


@pytest.mark.parametrize("told", [True, False])
def test_no_file_is_without_bound(shelf, tmp_path, monkeypatch, told):
    monkeypatch.setattr(download, "MOST_BYTES", len(BODY) - 1)

    def unsized(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(BODY)

    shelf.resumable("/a.gz", BODY)
    if not told:
        shelf.routes["/a.gz"] = unsized
    with pytest.raises(NetworkError, match=f"expected at most {len(BODY) - 1}"):
        get(shelf, tmp_path / "raw")
    assert leftovers(tmp_path / "raw") == []


def test_wrong_checksum_is_told_and_leaves_nothing(shelf, tmp_path):
    shelf.resumable("/a.gz", BODY)
    with pytest.raises(NetworkError, match=f"expected {'0' * 64}") as told:
        get(shelf, tmp_path / "raw", sha256="0" * 64)
    assert "\n" not in str(told.value)
    assert leftovers(tmp_path / "raw") == []


def test_404_is_told_at_once(shelf, tmp_path):
    with pytest.raises(NetworkError, match=r"answered 404 for a\.gz.*--raw DIR"):
        get(shelf, tmp_path / "raw")
    assert shelf.paths() == ["/a.gz"]
    assert leftovers(tmp_path / "raw") == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/gzip"])
def test_a_web_page_is_no_file(shelf, tmp_path, kind):
    shelf.bytes("/a.gz", b"\n<!DOCTYPE html><html><body>Sign in</body></html>", Content_Type=kind)
    with pytest.raises(NetworkError, match="answered with a web page"):
        get(shelf, tmp_path / "raw", size=12345)
    assert not (tmp_path / "raw" / "a.gz").exists()


def test_bytes_that_are_no_gzip_are_no_gz(shelf, tmp_path):
    shelf.bytes("/a.gz", b"not packed")
    with pytest.raises(NetworkError, match="no gzip file"):
        get(shelf, tmp_path / "raw")
    assert leftovers(tmp_path / "raw") == []


def test_a_web_page_during_a_resume_does_not_cost_what_was_there(shelf, tmp_path):
    begin_part(tmp_path / "raw", shelf.url("/a.gz"), BODY[:5000], '"v1"')
    shelf.bytes("/a.gz", b"<html>busy</html>", Content_Type="text/html")
    with pytest.raises(NetworkError, match="web page"):
        get(shelf, tmp_path / "raw")
    assert Part(tmp_path / "raw" / "a.gz").length == 5000


def test_busy_servers_are_asked_again_and_not_for_ever(shelf, tmp_path):
    shelf.bytes("/busy", b"", 503, Retry_After="0")
    shelf.resumable("/good", BODY)
    shelf.sequence("/a.gz", shelf.routes["/busy"], shelf.routes["/busy"], shelf.routes["/good"])
    assert get(shelf, tmp_path / "one").read_bytes() == BODY
    shelf.routes["/a.gz"] = shelf.routes["/busy"]
    shelf.asked.clear()
    with pytest.raises(NetworkError, match="answered 503, 3 attempts"):
        get(shelf, tmp_path / "two")
    assert len(shelf.asked) == HASTY.attempts


def silent(shelf) -> None:
    shelf.routes["/a.gz"] = lambda request: shelf.closing.wait(5) and None


def dripping_body(shelf) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while not shelf.closing.wait(0.05):
            request.wfile.write(b"\x1f")

    shelf.routes["/a.gz"] = drip


def dripping_headers(shelf) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not shelf.closing.wait(0.05):
            request.wfile.write(b"z")

    shelf.routes["/a.gz"] = drip


@pytest.mark.parametrize("slow", [silent, dripping_body, dripping_headers])
def test_a_slow_server_is_given_up_with_a_clear_line(shelf, tmp_path, slow):
    slow(shelf)
    began = time.monotonic()
    with pytest.raises(NetworkError, match=r"too slow.*3 attempts in a row; run again to go on"):
        get(shelf, tmp_path / "raw")
    assert time.monotonic() - began < 4
    assert not (tmp_path / "raw" / "a.gz").exists()


def test_redirects_are_followed_and_end(shelf, tmp_path):
    shelf.resumable("/there.gz", BODY)
    shelf.redirect("/a.gz", "/there.gz")
    assert get(shelf, tmp_path / "raw").read_bytes() == BODY
    shelf.redirect("/round.gz", shelf.url("/round.gz"))
    with pytest.raises(NetworkError, match="redirects more than 5 times"):
        get(shelf, tmp_path / "round", "/round.gz")


def test_loopback_is_refused_unless_allowed(shelf, tmp_path):
    shelf.resumable("/a.gz", BODY)
    for host in ("127.0.0.1", "localhost", "2130706433"):
        url = shelf.url("/a.gz").replace("127.0.0.1", host)
        with pytest.raises(NetworkError, match=r"loopback address .*--allow-private"):
            fetch([Remote(url, "a.gz")], tmp_path / "raw", Silent(), manners=HASTY)
    assert shelf.asked == []


def public_first(monkeypatch, shelf, answers: dict[str, list[str]]) -> None:
    """Names resolve as told, and the one public address leads to the local server."""
    port = int(shelf.base.rpartition(":")[2])
    real, look_up = socket.create_connection, socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        if host not in answers:  # a number
            return look_up(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[host].pop(0), port))]

    def connect(address, *args, **kwargs):
        assert address[0] == "203.0.114.7", f"connected to {address} which nobody checked"
        return real(("127.0.0.1", port), *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)


def test_a_redirect_to_loopback_is_refused(shelf, tmp_path, monkeypatch):
    shelf.redirect("/a.gz", f"http://inner.test:{shelf.base.rpartition(':')[2]}/secret")
    shelf.bytes("/secret", BODY)
    public_first(monkeypatch, shelf, {"shop.test": ["203.0.114.7"], "inner.test": ["127.0.0.1"]})
    with pytest.raises(NetworkError, match=r"shop\.test/a\.gz: refused to ask inner\.test: .*loopback"):
        fetch([Remote("http://shop.test/a.gz", "a.gz")], tmp_path / "raw", Silent(), manners=HASTY)
    assert shelf.paths() == ["/a.gz"]


def test_the_checked_address_is_the_one_that_is_connected_to(shelf, tmp_path, monkeypatch):
    shelf.resumable("/a.gz", BODY)
    # A second look-up would lead inside: there must be none.
    public_first(monkeypatch, shelf, {"shop.test": ["203.0.114.7", "127.0.0.1"]})
    [path] = fetch([Remote("http://shop.test/a.gz", "a.gz")], tmp_path / "raw", Silent(), manners=HASTY)
    assert path.read_bytes() == BODY


@pytest.fixture
def sealed_shelf(tmp_path, monkeypatch):
    """Base of a server that speaks TLS with a certificate for `localhost` which the client trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        *names,
        "-keyout",
        key,
        "-out",
        cert,
    ]
    subprocess.run(make, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return  # a client that refuses the certificate

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_certificates_are_checked_against_the_name_not_the_number(sealed_shelf, tmp_path):
    remote = Remote(f"{sealed_shelf}/a.gz", "a.gz", len(BODY))
    [path] = fetch([remote], tmp_path / "raw", Silent(), allow_private=True, manners=HASTY)
    assert path.read_bytes() == BODY
    other = Remote(remote.url.replace("localhost", "127.0.0.1"), "a.gz", len(BODY))
    with pytest.raises(NetworkError, match=r"(?i)certificate"):
        fetch([other], tmp_path / "other", Silent(), allow_private=True, manners=HASTY)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.test/a.gz", "http://", "http://[::1", "a.gz"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(NetworkError, match=r"refused to ask|no address"):
        fetch([Remote(url, "a.gz")], tmp_path / "raw", Silent(), allow_private=True, manners=HASTY)


def test_a_closed_network_is_told_with_the_way_out(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.gz"
        with pytest.raises(NetworkError, match=r"cannot reach 127\.0\.0\.1.*network is closed.*--raw DIR"):
            fetch([Remote(url, "a.gz")], tmp_path / "raw", Silent(), allow_private=True, manners=HASTY)


@pytest.mark.parametrize("name", ["../a.gz", "/a.gz", ".a.gz", "a/b.gz", "", "a.gz.part"])
def test_unsafe_names_are_refused(tmp_path, name):
    with pytest.raises(ConfigError):
        fetch([Remote("http://example.test/a.gz", name)], tmp_path, Silent())


def test_one_name_for_two_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="twice"):
        fetch([Remote(f"http://example.test/{i}", "a.gz") for i in range(2)], tmp_path, Silent())


def test_a_second_process_is_told_to_wait(tmp_path):
    code = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); time.sleep(30)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".download.lock")], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(IncompleteError, match="another process downloads"):
            fetch([Remote("http://example.test/a.gz", "a.gz")], tmp_path, Silent())
    finally:
        other.kill()
        other.wait()
        assert other.stdout is not None
        other.stdout.close()


def test_a_full_disk_is_one_line(shelf, tmp_path):
    shelf.resumable("/a.gz", BODY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(IncompleteError, match=r"cannot write .*a\.gz\.part: File too large; make room"):
            get(shelf, tmp_path / "raw")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "raw" / "a.gz").exists()
    assert get(shelf, tmp_path / "raw").read_bytes() == BODY


def test_one_failure_ends_all_and_keeps_parts(shelf, tmp_path):
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("ETag", '"v1"')
        request.end_headers()
        while not shelf.closing.wait(0.001):
            request.wfile.write(BODY[:20_000])

    shelf.routes["/long.gz"] = endless
    remotes = [Remote(shelf.url("/long.gz"), "long.gz"), Remote(shelf.url("/gone.gz"), "gone.gz")]
    with pytest.raises(NetworkError, match=r"404 for gone\.gz"):
        fetch(remotes, tmp_path / "raw", Silent(), allow_private=True, manners=HASTY)
    assert not (tmp_path / "raw" / "long.gz").exists()


@pytest.mark.parametrize(
    ("head", "page"),
    [
        (b"<!DOCTYPE HTML>", True),
        (b"\xef\xbb\xbf <html>", True),
        (b"<?xml version='1.0'?><html xmlns=''>", True),
        (b"<!-- hi --><head>", True),
        (b'{"title": "<html>"}', False),
        (b"\x1f\x8b\x08", False),
        (b"", False),
    ],
)
def test_web_pages_are_known_by_their_beginning(head, page):
    assert looks_like_html(head) is page


def test_flaws_are_named(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(BODY)
    assert flaw(file, "a.gz", len(BODY), sha256_of(file).upper()) is None
    assert "no zip archive" in (flaw(file, "a.zip", None, None) or "")
