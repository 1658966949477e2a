"""The making of a model: simulated records, training, search and evaluation."""
