"""Implementations under test, as functions of NumPy arrays: frameworks, programs, modules."""
