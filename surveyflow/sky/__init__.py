"""Pixels and positions: tiling, cutouts, noise and stretches, as pure functions."""
