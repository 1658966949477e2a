"""Paths and durable files."""
