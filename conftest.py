"""For a checkout: the conformance suite's options where refnn is not installed, and one thread for each process."""

import os

# pytest-xdist starts a process for each core. Threads of BLAS and PyTorch beside them would only wait for each other,
# which takes twice as long; the processes inherit this before they import either.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

pytest_plugins = ("refnn.suite.pytest_plugin",)
