"""What makes a model, and what judges it."""
