"""Training examples: simulated or read, kept as TFRecord shards."""
