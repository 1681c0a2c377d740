"""Adapters: run other implementations as functions of NumPy arrays."""
