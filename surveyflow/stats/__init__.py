"""What draws and classifications amount to, as pure functions."""
