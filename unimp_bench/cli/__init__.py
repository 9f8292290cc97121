"""The command line: the only rooms that print. One file a command; heavy imports wait until a command runs."""
