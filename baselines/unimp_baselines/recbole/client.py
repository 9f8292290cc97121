"""The worker process as its user sees it: started when first asked, kept warm, its death told in one line.

Starting costs some four seconds (PyTorch and RecBole), so one worker serves all runners of a process, one request
after another. It ends with its parent, however that ends.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

from unimp_baselines.common import require
from unimp_baselines.recbole import requests
from unimp_bench.errors import ConfigError, UnimpBenchError

_QUOTED = 3  # last lines of a dead worker that an error repeats
_INSTALL = "run `pip install -c constraints.txt -e '.[recbole]'` and `pip install --no-deps recbole==1.2.1`"


class WorkerError(UnimpBenchError):
    """RecBole's process died or refused a request."""


def require_recbole() -> None:
    """Refuse to begin where RecBole is not installed.

    Raises:
        ConfigError: it is not.
    """
    require("this system", _INSTALL, "recbole")


class Worker:
    """A process that runs `worker.py`, started when needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def ask(
        self,
        request: requests.Train | requests.Score,
        file: Path,
        step: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Have a request done.

        Args:
            request: what to do.
            file: where to write the request.
            step: told of every step of training.

        Returns:
            What the worker says about it when it is done.

        Raises:
            ConfigError: RecBole is not installed, or the request makes no sense to it.
            WorkerError: the worker died; the same request goes on from its last checkpoint.
        """
        requests.write(request, file)
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{file.absolute()}\n")
            process.stdin.flush()
            for line in process.stdout:
                reply = json.loads(line)
                if "done" in reply:
                    done: dict[str, Any] = reply["done"]
                    return done
                if "failed" in reply:
                    raise ConfigError(f"{request.model.name} through RecBole: {reply['failed']}")
                step(reply["step"])
        except ConfigError:
            raise
        except BrokenPipeError:
            pass  # it died before it could read; told below
        except BaseException:
            self.close()  # whoever asks next must not read this request's answers
            raise
        raise WorkerError(self._obituary(request))

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _started(self) -> subprocess.Popen[str]:
        if self.pid is None:
            self.close()
            require_recbole()
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "unimp_baselines.recbole.worker", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        assert self._process is not None
        return self._process

    def _obituary(self, request: requests.Train | requests.Score) -> str:
        assert self._process is not None
        assert self._log is not None
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = [line.strip() for line in lines if line.strip(" ^~\r")][-_QUOTED:]
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self.close()
        said = f"its last lines: {' | '.join(last)}" if last else "it said nothing"
        return (
            f"RecBole's worker {how} at {request.model.name} ({type(request).__name__.lower()}); {said}; "
            "run the same command again, it goes on from the last checkpoint"
        )


@cache
def shared() -> Worker:
    """The one worker of this process."""
    worker = Worker()
    atexit.register(worker.close)
    return worker
