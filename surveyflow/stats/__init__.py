"""Statistics of draws, classifications and estimates, as pure functions."""
