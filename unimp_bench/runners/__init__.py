"""What a runner is, how it is found, and the one ranking routine."""
