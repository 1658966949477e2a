"""Training and the search for settings."""
