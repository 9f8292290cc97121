"""One loop over many jobs by several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock
from typing import TypeVar

T = TypeVar("T")


def drain(work: Callable[[T], None], jobs: Iterable[T], threads: int, stop: Event) -> None:
    """Call `work` with every job, on that many threads; nothing is queued, so a million jobs cost no memory.

    The first error ends it: `stop` is set, which long work should look at, and the error is raised here.
    """
    source = iter(jobs)
    turn = Lock()

    def worker() -> None:
        while not stop.is_set():
            with turn:
                job = next(source, stop)  # the event itself marks the end: no job is one
            if isinstance(job, Event):
                return
            work(job)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        futures = [pool.submit(worker) for _ in range(max(1, threads))]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            stop.set()
