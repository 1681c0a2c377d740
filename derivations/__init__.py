"""Every equation of the five sources as a claim that a machine decides, with the errata ledger that follows from it.

`ledger/` says what each source prints and what is to be thought of it; the modules named after the sources hold one
claim for each statement; `links.py` compares the ops of refnn with the claims; `python -m derivations` runs everything
and writes `ERRATA.md` and `errata.html`.
"""
