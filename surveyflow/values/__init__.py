"""The values that pass between the parts of the package; invalid ones cannot be constructed."""
