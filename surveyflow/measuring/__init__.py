"""A unit's work: from a window of a mosaic to catalog rows."""
