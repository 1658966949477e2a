"""The command line, with one file for each group of verbs: it reads arguments, calls the API and prints."""
