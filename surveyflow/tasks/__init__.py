"""The tasks of the networks, and the cards of their models."""
