"""A run from beginning to end: inputs are opened; units are planned, done and published."""
