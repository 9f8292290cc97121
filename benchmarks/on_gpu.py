"""All that wants a GPU, by one command, on a machine without the toolkit and polars.

It needs torch, transformers, accelerate, safetensors, numpy, pyarrow and pillow, diffusers too where pictures are made.

    python benchmarks/on_gpu.py --data data/synthetic-small data/hm data/beauty --out brought_back

Measures preset `paper` with random weights (`gpu.py`), then trains UniMP on each built dataset folder and answers every
task that it learned. At home: `unimp-bench score brought_back/<dataset>/<task>.parquet --dataset D --task T`. What is
there already is not made again, so a killed call goes on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASKS = ("recommendation", "search", "preference", "explanation", "selection", "image_generation")


def main() -> int:
    """Measure, train, answer; 1 if something failed, which stands on stderr in its own line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="built dataset folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of UniMP")
    parser.add_argument("--skip-speed", action="store_true", help="do not measure preset paper")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    well = True
    if not asked.skip_speed:
        well = call(str(HERE / "gpu.py"), "--preset", "paper")
    sets = [part for one in (f"preset={asked.preset}", *asked.set) for part in ("--set", one)]
    for data in asked.data:
        folder, model = asked.out / data.name, asked.out / data.name / "model"
        folder.mkdir(exist_ok=True)
        if not (model / "unimp.json").is_file():
            well &= call("-m", "unimp.train", "--data", str(data), "--out", str(model), *sets)
        for task in TASKS:
            answers = folder / f"{task}.parquet"
            there = (data / "visible" / "tasks" / task / "test.examples.parquet").is_file()
            if (model / "unimp.json").is_file() and there and not answers.is_file():
                asking = ("--model", str(model), "--data", str(data), "--task", task, "--out", str(answers))
                well &= call("-m", "unimp.predict", *asking)
    return 0 if well else 1


def call(*words: str) -> bool:
    """Run Python with these words and this checkout's `unimp`; whether it ended well."""
    path = os.pathsep.join([str(HERE.parent / "models"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run([sys.executable, *words], check=False, env={**os.environ, "PYTHONPATH": path}).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
