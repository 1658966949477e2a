"""The kind ``serial``: jobs in the process that was started."""
