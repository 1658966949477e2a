"""Selections of galaxies in the files that other programs read."""
