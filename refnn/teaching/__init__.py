"""Lectures: programs that show what the sources teach. Nothing of refnn imports them."""
