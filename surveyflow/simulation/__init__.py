"""Simulated galaxies, observations and complete surveys, drawn from a seed."""
