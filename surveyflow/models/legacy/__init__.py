"""The import of the authors' released networks, without trusting their files."""
