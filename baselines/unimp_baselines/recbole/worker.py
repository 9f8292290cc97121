"""The process in which RecBole lives: `python -m unimp_baselines.recbole.worker REQUEST.json …`, or `-` to be told.

With `-` it takes paths of requests from standard input, one a line, until that ends. Replies go to standard output
(see `requests`); all that RecBole prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from unimp_baselines.recbole import compat, requests
from unimp_bench import meter


def main(files: list[str]) -> int:
    """Do requests one after another; 1 if the last one failed."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    compat.apply()
    from unimp_baselines.recbole import scoring, training
    from unimp_baselines.recbole.refusals import RefusalError

    compat.silence_tensorboard()
    scorer = scoring.Scorer()
    code = 0
    for file in _told() if files == ["-"] else files:
        meter.reset_peak()  # the worker outlives its requests, and each is told its own memory
        try:
            request = requests.read(Path(file))
            if isinstance(request, requests.Train):
                done = training.train(request, lambda step: _reply(channel, {"step": step}))
            else:
                done = scorer.score(request)
            _reply(channel, {"done": {**done, "worker_peak_megabytes": round(meter.peak_megabytes(), 1)}})
            code = 0
        except RefusalError as error:
            _reply(channel, {"failed": str(error)})
            code = 1
    return code


def _reply(channel: TextIO, reply: dict[str, Any]) -> None:
    channel.write(json.dumps(reply) + "\n")
    channel.flush()


def _told() -> Iterator[str]:
    """Lines of standard input; when it ends, so does the process, also in the middle of work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
    lines: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        os._exit(0)  # nobody is left who could read an answer

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield lines.get()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
