"""Hostile inputs, by name and number: what makes them, runs them and judges what became of them."""
