"""The command line: one file a group of verbs; it reads arguments, calls the API and prints."""
