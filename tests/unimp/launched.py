"""Starting several processes of a test by torch's or accelerate's launcher, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def launch(*arguments: str, accelerate: tuple[str, ...] = (), timeout: float = 400) -> str:
    """Run a module in two processes; what they said. By torchrun, or by `accelerate launch` with some flags.

    `accelerate launch --cpu` would start one process: with its flags for GPUs it starts as many as it is told.
    """
    starting = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    if accelerate:
        starting = ["accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1", *accelerate]
        starting += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = [sys.executable, "-m", *starting, "-m", *arguments]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "models"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise LaunchError(done.stderr)
    return done.stderr


class LaunchError(Exception):
    """The launch failed; its text is what the processes said."""
