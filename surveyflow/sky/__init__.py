"""Pixels and positions: tiling, cutting and stretching, as pure functions."""
