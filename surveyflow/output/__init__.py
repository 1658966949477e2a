"""The working folder: lock, run folders, heartbeats, work lists and unit files."""
