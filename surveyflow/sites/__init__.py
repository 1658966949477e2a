"""The kinds of cluster: one folder each."""
