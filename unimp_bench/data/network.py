"""The one way to the network: asks for files by http and https, politely, and only from public addresses.

Unusual: the client stands on httpcore's connection pool, below httpx, because only there can the address that was
checked be the address that is connected to; a name that resolves to a public address for the check and to a private
one for the connection (DNS rebinding) gets nowhere. Redirects are followed by hand, so each hop is checked alike.
Proxies named in the environment are not used: they would resolve names out of our sight.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version

import httpcore
import httpx

from unimp_bench.data.guard import objection
from unimp_bench.errors import NetworkError

_MOVED = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Manners:
    """How patient and how polite we are; times in seconds."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0  # silence after which a server counts as gone
    stall_seconds: float = 60.0  # of waiting in which at least `stall_bytes` must arrive
    stall_bytes: int = 16 * 1024
    attempts: int = 5  # in a row that bring nothing
    unreachable_attempts: int = 2  # in a row without any answer
    worthwhile_bytes: int = 1024 * 1024  # new bytes after which an attempt was not in vain
    first_pause: float = 1.0  # doubles with every attempt
    longest_pause: float = 60.0
    redirects: int = 5
    per_host: int = 6  # pictures asked of one host at a time, as browsers do
    silent_host: int = 8  # pictures in a row that do not come before a host that never answered is given up
    failing_host: int = 64  # the same for a host that did answer

    def pause(self, attempt: int, asked: float | None = None) -> float:
        """Seconds to wait after that many failures; a server's own wish counts up to the longest pause."""
        return min(self.longest_pause, asked if asked is not None else self.first_pause * 2 ** (attempt - 1))


POLITE = Manners()


class RefusedAddressError(NetworkError):
    """An address that no request may go to."""


class UnreachableError(NetworkError):
    """Nobody answered: no such name, no route, no connection."""


class CutError(NetworkError):
    """The answer broke off, came too slowly or made no sense; trying again may help."""


class StatusError(NetworkError):
    """The server refused; `status` is its code, `wait` the seconds it asks for."""

    def __init__(self, url: str, status: int, wait: float | None) -> None:
        super().__init__(f"{url} answered {status}")
        self.status = status
        self.wait = wait

    @property
    def passing(self) -> bool:
        """Whether trying again may help."""
        return self.status in _BUSY


class _Steady(httpcore.NetworkStream):
    """A connection that ends when the other side drips, be it headers or body."""

    def __init__(self, inner: httpcore.NetworkStream, manners: Manners) -> None:
        self._inner, self._manners = inner, manners
        self._waited, self._received = 0.0, 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        began = time.monotonic()
        data = self._inner.read(max_bytes, timeout)
        self._waited += time.monotonic() - began  # our own work between two reads does not count
        self._received += len(data)
        if self._waited > self._manners.stall_seconds:
            if self._received < self._manners.stall_bytes:
                raise httpcore.ReadTimeout(f"only {self._received} bytes in {self._waited:.0f} s")
            self._waited, self._received = 0.0, 0
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._waited, self._received = 0.0, 0  # a new request on a kept connection
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: object, **kwargs: object) -> httpcore.NetworkStream:
        return _Steady(self._inner.start_tls(*args, **kwargs), self._manners)  # type: ignore[arg-type]

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Guarded(httpcore.NetworkBackend):
    """Connects to the very addresses that were checked."""

    def __init__(self, manners: Manners, allow_private: bool) -> None:
        self._inner = httpcore.SyncBackend()
        self._manners, self._allow_private = manners, allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as unknown:
            raise httpcore.ConnectError(f"no address for this name ({unknown})") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            reason = None if self._allow_private else objection(address)
            if reason is not None:
                raise RefusedAddressError(
                    f"refused to ask {host}: it leads to the {reason} address {address}; --allow-private permits it"
                )
        failure: httpcore.ConnectError | httpcore.ConnectTimeout = httpcore.ConnectError("no address for this name")
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as refused:
                failure = refused
            else:
                return _Steady(stream, self._manners)
        raise failure


@contextmanager
def _plainly(url: httpx.URL) -> Iterator[None]:
    """Say the library's errors in our words."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
        raise UnreachableError(f"cannot reach {url.host}: {str(failure) or 'no answer'}") from None
    except httpcore.TimeoutException as failure:
        raise CutError(f"{url} is too slow ({str(failure) or 'no answer in time'})") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as failure:
        raise CutError(f"{url} broke off ({str(failure) or type(failure).__name__})") from None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


@dataclass(frozen=True)
class Answer:
    """A server's answer: 200, 206 or 416; its body can be read once, while the request is open."""

    url: str  # after redirects
    status: int
    headers: httpx.Headers
    chunks: Iterator[bytes] = field(repr=False)

    @property
    def place(self) -> tuple[int | None, int | None]:
        """First byte of the body within the file, and the file's length, as far as told."""
        unit, _, rest = self.headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        if self.status == 200:
            return 0, _number(self.headers.get("content-length", ""))
        return (_number(span.partition("-")[0]), _number(total)) if unit == "bytes" else (None, None)

    def read(self, limit: int) -> bytes | None:
        """The whole body; None as soon as it is known to be longer than `limit` bytes."""
        length = self.place[1]
        if length is not None and length > limit:
            return None
        body = bytearray()
        for chunk in self.chunks:
            body += chunk
            if len(body) > limit:
                return None
        return bytes(body)


def _wish(text: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date."""
    if not text:
        return None
    seconds = _number(text.strip())
    if seconds is not None:
        return float(seconds)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


class Client:
    """Asks for files by http and https, politely and only from addresses that are allowed; for many threads."""

    def __init__(self, manners: Manners = POLITE, allow_private: bool = False, connections: int = 16) -> None:
        self._manners = manners
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            keepalive_expiry=15.0,
            network_backend=_Guarded(manners, allow_private),
        )
        self._headers = {
            "User-Agent": f"unimp-bench/{version('unimp-bench')}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # sizes, ranges and checksums are of the file itself
        }
        self._timeout = {
            "connect": manners.connect_seconds,
            "read": manners.read_seconds,
            "write": manners.read_seconds,
            "pool": None,
        }

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _parsed(address: str, base: httpx.URL | None = None) -> httpx.URL:
        try:
            url = httpx.URL(address) if base is None else base.join(address)
        except (httpx.InvalidURL, ValueError) as failure:
            raise NetworkError(f"'{address[:200]}' is no address ({failure}); correct it") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise RefusedAddressError(f"refused to ask '{str(url)[:200]}': only http and https addresses are asked")
        return url

    @contextmanager
    def get(self, address: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """The open answer to one request, redirects followed.

        Raises:
            RefusedAddressError: the address or one that it redirects to is not allowed.
            UnreachableError, CutError: no answer, or (also while the body is read) no whole one.
            StatusError: an answer other than 200, 206 or 416.
            NetworkError: no address at all, or too many redirects.
        """
        url = self._parsed(address)
        for _ in range(self._manners.redirects + 1):
            asked = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
            sent: list[tuple[bytes | str, bytes | str]] = [("Host", url.netloc.decode("ascii"))]
            sent += [*self._headers.items(), *(headers or {}).items()]
            with (
                _plainly(url),
                self._pool.stream("GET", asked, headers=sent, extensions={"timeout": self._timeout}) as response,
            ):
                told = httpx.Headers(response.headers)
                if response.status in _MOVED and "location" in told:
                    url = self._parsed(told["location"], url)
                    continue
                if response.status not in (200, 206, 416):
                    raise StatusError(str(url), response.status, _wish(told.get("retry-after")))
                yield Answer(str(url), response.status, told, iter(response.iter_stream()))
                return
        raise NetworkError(f"{address} redirects more than {self._manners.redirects} times; check the address")
