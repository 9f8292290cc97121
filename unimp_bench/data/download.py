"""Raw files from the network: several at a time, continued where they broke off, checked before they get their name.

What is unusual is in `network.py` (who may be asked) and `parts.py` (what a half file is); here is the patience.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from unimp_bench.data.network import (
    POLITE,
    Answer,
    Client,
    CutError,
    Manners,
    RefusedAddressError,
    StatusError,
    UnreachableError,
)
from unimp_bench.data.parts import Part, alone, flaw, looks_like_html, writable
from unimp_bench.data.threads import drain
from unimp_bench.errors import ConfigError, NetworkError
from unimp_bench.places import safe_name
from unimp_bench.progress import Progress

MOST_BYTES = 64 << 30  # of a file whose size is not known beforehand; the largest dump has about 20 GB
_ELSEWHERE = "fetch the files elsewhere and give their folder as --raw DIR"


@dataclass(frozen=True)
class Remote:
    """A file on the network: where it is, what it shall be called, and what is known of it."""

    url: str
    name: str
    size: int | None = None  # bytes
    sha256: str | None = None


@dataclass
class _Meter:
    """Tells the progress how far one file is, also when it has to start anew."""

    progress: Progress
    told: int = 0

    def at(self, length: int) -> None:
        self.progress.advance(length - self.told)
        self.told = length


@dataclass(frozen=True)
class _Errand:
    """One file on its way."""

    remote: Remote
    part: Part
    client: Client
    manners: Manners
    stop: Event

    def _wrong(self, what: str) -> NetworkError:
        return NetworkError(f"{self.remote.url} {what}; try again later, or {_ELSEWHERE}")

    def _usable(self) -> int:
        """Bytes that are here and may be continued; others are removed."""
        here, known = self.part.length, self.part.version(self.remote.url)
        too_long = self.remote.size is not None and here > self.remote.size
        # Without a version only the checksum could tell two files apart.
        if too_long or known is None or (not any(known) and self.remote.sha256 is None):
            self.part.discard()
            return 0
        return here

    def _ask(self, here: int) -> dict[str, str]:
        """Headers that ask for what is missing, if the file is still the same."""
        if here == 0:
            return {}
        etag, modified = self.part.version(self.remote.url) or (None, None)
        strong = etag if etag and not etag.startswith("W/") else None
        same = strong or modified
        return {"Range": f"bytes={here}-", **({"If-Range": same} if same else {})}

    def _anew(self, why: str) -> CutError:
        self.part.discard()
        return CutError(f"{self.remote.url} {why}")

    def transfer(self, meter: _Meter) -> None:
        """Bring the missing bytes.

        Raises:
            CutError: not all came; trying again continues, or starts anew where the part was of no use.
            NetworkError: what the server sends is not the file.
        """
        remote, part = self.remote, self.part
        here = self._usable()
        meter.at(here)
        with self.client.get(remote.url, self._ask(here)) as answer:
            first, total = answer.place
            etag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
            known = part.version(remote.url) or (None, None)
            another = etag is not None and known[0] is not None and etag != known[0]
            if answer.status == 416:
                if here and total == here and not another:
                    return
                raise self._anew("has less than what came before")
            if answer.headers.get("content-type", "").startswith("text/html") and not remote.name.endswith("html"):
                raise self._wrong(f"answered with a web page in place of {remote.name}")
            if answer.status == 206:
                if here == 0 or first != here or another:
                    raise self._anew("sent another part than asked for")
            else:
                part.begin(remote.url, etag, modified)
                meter.at(0)
            self._copy(answer, total, meter)
        if total is not None and part.length < total:
            raise CutError(f"{remote.url} broke off after {part.length} of {total} bytes")

    def _copy(self, answer: Answer, total: int | None, meter: _Meter) -> None:
        remote, length = self.remote, self.part.length
        most = MOST_BYTES if remote.size is None else remote.size
        with writable(self.part.path), self.part.opened() as file:
            for chunk in answer.chunks:
                if self.stop.is_set():
                    raise CutError(f"{remote.url} was given up because another file failed")
                if length == 0 and looks_like_html(chunk) and not remote.name.endswith("html"):
                    raise self._wrong(f"answered with a web page in place of {remote.name}")
                if max(total or 0, length + len(chunk)) > most:
                    self.part.discard()
                    more = total if total is not None else f"more than {most}"
                    expected = "at most " if remote.size is None else ""
                    raise self._wrong(f"sends {more} bytes of {remote.name}, expected {expected}{most}")
                file.write(chunk)
                length += len(chunk)
                meter.at(length)

    def finished(self, meter: _Meter) -> bool:
        """Whether the file is already here, whole and right."""
        path, remote = self.part.target, self.remote
        if not path.is_file() or flaw(path, remote.name, remote.size, remote.sha256) is not None:
            return False
        meter.at(path.stat().st_size)
        return True

    def run(self, meter: _Meter) -> bool:
        """Bring the file; False if it was here already.

        Raises:
            NetworkError: it could not be brought; what came of it stays as a part, unless it is wrong.
        """
        if self.finished(meter):
            self.part.discard()  # a kill may have left its note
            return False
        in_vain, furthest, met = 0, 0, False
        while not self.stop.is_set():
            came_before = self.part.length
            try:
                self.transfer(meter)
                wrong = flaw(self.part.path, self.remote.name, self.remote.size, self.remote.sha256)
                if wrong is None:
                    self.part.finish()
                    return True
                self.part.discard()
                if came_before == 0:
                    raise self._wrong(wrong)
                raise CutError(f"{self.remote.url} {wrong}")  # the older bytes may be to blame
            except (UnreachableError, CutError, StatusError) as failure:
                grown = self.part.length - furthest
                furthest = max(furthest, self.part.length)
                in_vain = 1 if grown >= self.manners.worthwhile_bytes else in_vain + 1
                met = met or not isinstance(failure, UnreachableError)
                self._give_up_or_wait(failure, in_vain, met)
            except RefusedAddressError as failure:
                raise NetworkError(f"{self.remote.url}: {failure}") from None
        raise CutError(f"{self.remote.url} was given up because another file failed")

    def _give_up_or_wait(self, failure: UnreachableError | CutError | StatusError, in_vain: int, met: bool) -> None:
        # A server that never answered will hardly do so; one that did may only be starting again.
        if not met and in_vain >= self.manners.unreachable_attempts:
            raise NetworkError(f"{failure}; if the network is closed here, {_ELSEWHERE}") from None
        if isinstance(failure, StatusError) and not failure.passing:
            raise self._wrong(f"answered {failure.status} for {self.remote.name}") from None
        if in_vain >= self.manners.attempts:
            raise NetworkError(
                f"{failure}, {in_vain} attempts in a row; run again to go on from byte {self.part.length}, "
                f"or {_ELSEWHERE}"
            ) from None
        self.stop.wait(self.manners.pause(in_vain, failure.wait if isinstance(failure, StatusError) else None))


def fetch(
    remotes: Sequence[Remote],
    folder: Path,
    progress: Progress,
    *,
    allow_private: bool = False,
    workers: int = 4,
    manners: Manners = POLITE,
) -> list[Path]:
    """Bring files into a folder, several at a time, and return their paths in the order given.

    A file that is there with the right size and checksum is not asked for again; one that broke off, in this run or
    in an earlier one, is continued where it broke off if it is still the same file.

    Raises:
        ConfigError: a name that cannot be a file's, or the same name twice.
        NetworkError: a file could not be brought, or is not what it should be.
        IncompleteError: the disk did not take it, or another process downloads into the folder.
    """
    names = [safe_name(remote.name, "downloaded file") for remote in remotes]
    odd = next((name for name in names if names.count(name) > 1 or name.endswith((".part", ".part.json"))), None)
    if odd is not None:
        raise ConfigError(f"downloaded file '{odd}' is named twice or like an unfinished part; give each its own name")
    stop = Event()
    sizes = [remote.size for remote in remotes if remote.size is not None]
    with (
        alone(folder, ".download.lock", "downloads into"),
        Client(manners, allow_private, connections=workers + 1) as client,
    ):
        errands = [_Errand(remote, Part(folder / remote.name), client, manners, stop) for remote in remotes]
        progress.start("download", sum(sizes) if len(sizes) == len(remotes) else None, "bytes")
        brought: list[str] = []

        def bring(errand: _Errand) -> None:
            if errand.run(_Meter(progress)):
                brought.append(errand.remote.name)

        drain(bring, errands, min(workers, len(errands)), stop)
        progress.finish()
        progress.say(f"{len(brought)} of {len(names)} files downloaded into {folder}, the others were there already")
    return [errand.part.target for errand in errands]
