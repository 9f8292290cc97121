"""One file a system: floors, BM25 and the oracles of the synthetic shop, each a registered runner."""
