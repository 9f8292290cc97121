"""Values per example and what becomes of them: the metric suite and its statistics."""
