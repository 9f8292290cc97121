"""`report`: one self-contained HTML page about a dataset's runs; no server, no network, nothing that runs from data.

    run folders ─▶ collect (leaderboard) + examples (what was said) + pictures ─▶ plain data ─▶ page ─▶ report.html

The page shows sealed answers. It says so at its top; it must not be published beside a benchmark that is still open.
"""

from __future__ import annotations

from unimp_bench.report.collect import collect
from unimp_bench.report.page import assemble, write_report

__all__ = ["assemble", "collect", "write_report"]
