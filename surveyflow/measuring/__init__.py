"""The measurement of a unit: from a window of a mosaic to catalog rows."""
