"""A picture for every item, from local files or from the addresses that the source names, with a status each.

Items point to pictures by the hash of the finished picture, so what an item gets depends on bytes alone: not on file
names, on the order of work or on the number of threads. What may change by tomorrow (a server that is down, a web page
in place of a picture) is told for this time but not kept, so the next run asks again; what will stay is kept in `work`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock
from urllib.parse import urlsplit

import polars as pl

from unimp_bench.data import values
from unimp_bench.data.image_store import Found, ImageStore
from unimp_bench.data.network import (
    POLITE,
    Client,
    CutError,
    Manners,
    RefusedAddressError,
    StatusError,
    UnreachableError,
)
from unimp_bench.data.parts import looks_like_html
from unimp_bench.data.pictures import MOST_BYTES, Outcome, decode
from unimp_bench.data.threads import drain
from unimp_bench.errors import InputError, NetworkError
from unimp_bench.progress import Progress
from unimp_bench.schemas import IMAGES, conform

_TRIED = 3  # addresses of one item; sources name the same photo in several sizes
_NO_PHOTO = ("no-img", "no_image", "no-image", "x-locale/common/transparent")
GATHERED: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "item_id": pl.String,
    "image_status": pl.String,
    "image_id": pl.String,
}


@dataclass
class _Host:
    """One server and how it has behaved in this run."""

    places: BoundedSemaphore
    missed: int = 0  # pictures in a row that did not come, after all attempts
    answered: bool = False  # ever, be it with a refusal
    rest_until: float = 0.0  # on the monotonic clock; set by Retry-After, for all threads


@dataclass
class _Hosts:
    """All servers that were asked."""

    manners: Manners
    known: dict[str, _Host] = field(default_factory=dict)
    turn: Lock = field(default_factory=Lock)

    def of(self, url: str) -> _Host:
        try:
            name = urlsplit(url).netloc.lower().rpartition("@")[2]  # many users are still one server
        except ValueError:
            name = ""
        with self.turn:
            if name not in self.known:
                self.known[name] = _Host(BoundedSemaphore(self.manners.per_host))
            return self.known[name]

    def given_up(self, host: _Host) -> bool:
        # One that has answered is given time to come back.
        return host.missed >= (self.manners.failing_host if host.answered else self.manners.silent_host)

    def check(self) -> list[str]:
        """Names of the servers that were given up.

        Raises:
            NetworkError: no server at all answered.
        """
        gone = sorted(name for name, host in self.known.items() if self.given_up(host))
        if gone and not any(host.answered for host in self.known.values()):
            raise NetworkError(
                f"no picture server can be reached ({', '.join(gone[:3])}); if the network is closed here, "
                "give a folder of pictures or build without them"
            )
        return gone


@dataclass(frozen=True)
class _Gatherer:
    """What all threads share."""

    store: ImageStore
    decoding: BoundedSemaphore  # decoding needs memory and a core, waiting for a server does not
    stop: Event
    hosts: _Hosts
    client: Client | None

    def local(self, path: Path) -> Found:
        """The result for a local file."""
        try:
            info = path.stat()
            if not stat.S_ISREG(info.st_mode):  # a pipe would wait for ever
                return Found("not_an_image")
            if info.st_size > MOST_BYTES:
                return Found("too_large")
            data = path.read_bytes()
        except FileNotFoundError:
            return Found("missing_file")
        except OSError as failure:
            raise InputError(f"cannot read ({failure.strerror})", path, "make it readable or remove it") from None
        key = f"sha256:{sha256(data).hexdigest()}"
        return self.store.get(key) or self.store.put(key, self._decoded(data))

    def _decoded(self, data: bytes) -> Outcome:
        with self.decoding:
            return decode(data)

    def remote(self, urls: tuple[str, ...]) -> Found:
        """The first picture among some addresses, best first; the status of the first address where there is none."""
        first: Found | None = None
        for url in urls[:_TRIED]:
            found = self.store.get(url) or self._asked(url)
            if found.status == "ok":
                return found
            first = first or found
        return first or Found("missing_url")

    def _asked(self, url: str) -> Found:
        """The result for one address that nothing is known of; `http_error` if it stays without an answer."""
        if any(sign in url for sign in _NO_PHOTO):
            return Found("placeholder")
        host, manners = self.hosts.of(url), self.hosts.manners
        for attempt in range(1, manners.attempts + 1):
            with host.places:
                self.stop.wait(max(0.0, host.rest_until - time.monotonic()))
                if self.stop.is_set() or self.hosts.given_up(host):
                    return Found("http_error")
                found = self._attempt(url, host)
            if found is not None:
                host.missed = 0
                return found
            if attempt == (manners.attempts if host.answered else manners.unreachable_attempts):
                break
            self.stop.wait(manners.pause(attempt))
        host.missed += 1
        return Found("http_error")

    def _attempt(self, url: str, host: _Host) -> Found | None:
        """The result, or None where trying again may help."""
        try:
            found = self._once(url)
        except RefusedAddressError:
            return Found("refused_address")
        except UnreachableError:
            return None
        except CutError:
            found = None
        except StatusError as failure:
            if not failure.passing:
                found = self.store.put(url, Outcome("http_404" if failure.status == 404 else "http_error"))
            else:
                found = None
                if failure.wait is not None:
                    host.rest_until = time.monotonic() + self.hosts.manners.pause(1, failure.wait)
        except NetworkError:  # no address at all, or a circle of redirects
            return Found("http_error")
        host.answered = True
        return found

    def _once(self, url: str) -> Found:
        assert self.client is not None
        with self.client.get(url) as answer:
            if any(sign in answer.url for sign in _NO_PHOTO):
                return self.store.put(url, Outcome("placeholder"))
            data = answer.read(MOST_BYTES)
        outcome = Outcome("too_large") if data is None else self._decoded(data)
        # A page in place of a picture is how shops ask "are you a robot?": another day it is the picture.
        if data is not None and outcome.status == "not_an_image" and (not data or looks_like_html(data)):
            return Found("not_an_image")
        return self.store.put(url, outcome)


def gather(
    wanted: pl.DataFrame,
    local: Mapping[str, Path] | None,
    *,
    fetch: bool,
    work: Path,
    progress: Progress,
    allow_private: bool = False,
    workers: int = 8,
    manners: Manners = POLITE,
) -> pl.DataFrame:
    """Find, convert and keep a picture for every item that has one.

    Args:
        wanted: `item_id` (unique) and `image_urls` (best first).
        local: picture files by item id; an item that has one is never fetched. None where there is no such folder.
        fetch: whether to ask the addresses of the other items.
        work: folder of the state; a later call with the same folder does not repeat what is done.
        progress: told how far it is.
        allow_private: whether private and loopback addresses may be asked.
        workers: threads; they do not change the result.
        manners: patience and politeness on the network.

    Returns:
        `item_id`, `image_status`, `image_id`, sorted by item_id. Statuses are those of `schemas.IMAGE_STATUSES`.

    Raises:
        InputError: a local file cannot be read.
        NetworkError: pictures should be fetched and no server answers at all.
        IncompleteError: the disk does not take the pictures, or another process works in the folder.
    """
    found: dict[str, Found] = {}
    files: dict[Path, list[str]] = {}
    remote: dict[tuple[str, ...], list[str]] = {}
    for item_id, urls in wanted.select("item_id", "image_urls").iter_rows():
        addresses = tuple(values.urls(urls))
        if local is not None and item_id in local:
            files.setdefault(local[item_id], []).append(item_id)
        elif not addresses:
            found[item_id] = Found("missing_url")
        elif fetch:
            remote.setdefault(addresses, []).append(item_id)
        else:
            found[item_id] = Found("not_fetched" if local is None else "missing_file")
    stop, hosts = Event(), _Hosts(manners)
    cores = BoundedSemaphore(os.cpu_count() or 1)
    store = ImageStore(work)
    with store.writing(), Client(manners, allow_private, connections=workers + 1) as client:
        gatherer = _Gatherer(store, cores, stop, hosts, client if fetch else None)

        def one(job: tuple[Path | tuple[str, ...], list[str]]) -> None:
            source, item_ids = job
            result = gatherer.local(source) if isinstance(source, Path) else gatherer.remote(source)
            found.update(dict.fromkeys(item_ids, result))
            progress.advance(len(item_ids))

        jobs: list[tuple[Path | tuple[str, ...], list[str]]] = [*files.items(), *remote.items()]
        progress.start("pictures", sum(len(item_ids) for _, item_ids in jobs), "items")
        drain(one, jobs, workers if remote else min(workers, os.cpu_count() or 1), stop)
        progress.finish()
    for name in hosts.check():
        progress.say(f"picture server {name} did not answer and was given up; another run asks it again")
    rows = [(item_id, result.status, result.image_id) for item_id, result in sorted(found.items())]
    return pl.DataFrame(rows, schema=dict(GATHERED), orient="row")


def frames(work: Path, image_ids: Sequence[str], rows: int = 512) -> Iterator[pl.DataFrame]:
    """The finished pictures of these ids, `rows` at a time, in the columns of `schemas.IMAGES`, sorted by image_id.

    Raises:
        IncompleteError: a picture is not in `work`, or is damaged.
    """
    ids = sorted(set(image_ids))
    store = ImageStore(work)
    for start in range(0, len(ids), rows):
        pictures = list(store.read(ids[start : start + rows]))
        frame = pl.DataFrame(
            {
                "image_id": [picture.image_id for picture in pictures],
                "image": [{"bytes": picture.data, "path": None} for picture in pictures],
                "width": [picture.width for picture in pictures],
                "height": [picture.height for picture in pictures],
            },
            schema=dict(IMAGES.columns),
        )
        yield conform(frame, IMAGES.columns)
