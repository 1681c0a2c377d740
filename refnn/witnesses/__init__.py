"""Witnesses: independent derivatives. They can contradict a hand-derived vjp, and never define it."""
