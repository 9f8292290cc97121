"""RecBole's models (Zhao et al. 2021, CIKM; release 1.2.1) as runners: our splits in, scores out, our code ranks.

::

    runner.py ── feed.npz, request ──▶ worker.py (a process of its own: compat, datasets, models, training, scoring)
        ◀── epochs and losses, weights, blocks of scores ──

RecBole learns from our train rows; its own evaluator sees our validation rows and decides when to stop, nothing else.
Test examples never reach it but as histories to score. Modules that import RecBole are imported by the worker alone.
"""
