"""One adapter a release of shop data; see `base.py` for what an adapter is."""
