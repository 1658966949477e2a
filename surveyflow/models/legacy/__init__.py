"""The authors' released networks, imported without trusting their files."""
