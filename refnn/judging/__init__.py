"""The numbers of an implementation against the oracle: cases, calls, verdicts."""
