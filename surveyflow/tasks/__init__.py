"""The tasks of the networks, and what is known of a model."""
