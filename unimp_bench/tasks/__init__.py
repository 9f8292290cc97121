"""The six tasks: what they need, how examples are built from labelled interactions, and how they are worded."""
