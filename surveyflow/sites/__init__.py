"""Sites: the kinds of cluster, one folder each."""
