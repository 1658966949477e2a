"""A run from beginning to end: inputs are opened, units planned, done and published."""
