"""The TOML files that users write, read and checked."""
