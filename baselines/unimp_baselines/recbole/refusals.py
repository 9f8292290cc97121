"""What the worker says no to, in one line that a user can act on."""

from __future__ import annotations


class RefusalError(Exception):
    """A request that cannot be done as it stands; anything else that goes wrong ends the worker."""
