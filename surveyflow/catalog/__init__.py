"""What is written for others: the schema, the units' files and receipts, and published revisions."""
