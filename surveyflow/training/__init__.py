"""What makes a model: simulated records, training, search, evaluation."""
