"""Every equation of the five sources as a claim that a machine decides, with the errata ledger that follows from it.

`ledger/` says what each source prints and what is to be thought of it; the modules named after the sources hold one
claim for each statement; `links.py` compares the ops of refnn with the claims; `conventions.py` says what each source
calls the same thing; `systems.py` finds each system that they describe, and the test that proves it. `python -m
derivations` runs everything and writes `ERRATA.md`, `errata.html` and `CONVENTIONS.md`.
"""
