"""Numbers as text: their bits, JSON and its schema. Below everything that writes files."""
