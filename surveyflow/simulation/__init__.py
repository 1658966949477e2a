"""Galaxies, observations and whole surveys made from nothing but a seed."""
