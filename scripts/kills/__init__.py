"""The targets of the kill campaign, one file each."""
