"""The contamination task."""
