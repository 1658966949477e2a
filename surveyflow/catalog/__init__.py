"""The catalog's format: its columns, schema, metadata and files."""
