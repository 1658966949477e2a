"""The values that flow between the parts: they cannot be constructed wrong."""
