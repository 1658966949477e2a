"""The TOML files that users write, and their reader."""
