"""What can go wrong, said in one line: what, where, what to do."""


class UnimpError(Exception):
    """An error that a user can act on; its text is one line. `shared`: all processes of a launch raise it at once."""

    shared = False


class CheckpointError(UnimpError):
    """A saved model, tokenizer or cache that is not whole or belongs to something else."""


class TrainingError(UnimpError):
    """Training cannot go on: the loss is not a number, the disk is full, nothing is left to learn from."""
