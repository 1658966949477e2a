"""The user's files, checked and turned into values: workflows, mosaics and source lists."""
