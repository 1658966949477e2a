"""Published revisions of a catalog."""
