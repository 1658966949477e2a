"""Fractions of post-mergers, measured in a catalog."""
