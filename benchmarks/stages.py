"""Every stage of a whole build at a million interactions, beside `gzip -dc` of the same raw files.

    python benchmarks/stages.py [--work DIR]

The shop is the synthetic one at size `large`: 1.3 million reviews, nearly all of which survive the core filter: this
is the other extreme of `ingest.py`. The raw files are generated once and not measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unimp_bench.data.sources.synthetic import write_shop
from unimp_bench.progress import Silent


def unpack_seconds(raw: Path) -> float:
    """Seconds of `gzip -dc` of all raw files."""
    start = time.perf_counter()
    subprocess.run(["gzip", "-dc", *map(str, sorted(raw.glob("*.gz")))], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Generate, unpack, build, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "unimp-bench-stages")
    work: Path = parser.parse_args().work
    home = work / "home"
    write_shop(home / "raw/synthetic-large", "large", 0, Silent())
    gzip = unpack_seconds(home / "raw/synthetic-large")
    start = time.perf_counter()
    command = ["-m", "unimp_bench", "--home", str(home), "build", "synthetic", "--size", "large", "--force"]
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    manifest = json.loads((home / "data/synthetic-large/manifest.json").read_text())
    print(f"gzip -dc of the raw files {gzip:8.1f} s")
    for name, seconds in manifest["seconds"].items():
        print(f"{name:<25} {seconds:8.1f} s {seconds / gzip:8.1f} x gzip")
    print(f"{'whole build':<25} {whole:8.1f} s {whole / gzip:8.1f} x gzip   peak {peak:,.0f} MB")
    print(f"{manifest['facts']['counts']['interactions']:,} interactions")


if __name__ == "__main__":
    main()
