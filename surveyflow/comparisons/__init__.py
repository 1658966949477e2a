"""Comparisons of a published catalog with labels that others gave to its galaxies."""
