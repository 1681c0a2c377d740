"""The conformance suite: fixtures, how they are made, read, run, exported and judged by."""
