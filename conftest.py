"""For a checkout: the conformance suite's options where refnn is not installed, one thread for each process, and groups
of tests."""

import os

import pytest

# pytest-xdist starts a process for each core. Threads of BLAS and PyTorch beside them would only wait for each other,
# which takes twice as long; the processes inherit this before they import either.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

pytest_plugins = ("refnn.suite.pytest_plugin",)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest-xdist 3.8 writes the group of a test behind its id, where pytest 9.2 does not look any more: every test
    would be a group of its own, and what a group shares be found in each process."""
    for item in items:
        written = vars(item).get("_nodeid", item.nodeid)
        if written != item.nodeid:
            item._id = type(item._id).parse(written)  # type: ignore[attr-defined]
