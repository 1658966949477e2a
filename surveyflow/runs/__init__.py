"""A run from end to end: inputs opened, units planned, done and published."""
