"""Fractions of post-mergers, measured from a catalog."""
