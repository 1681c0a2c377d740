"""In a checkout that is not installed, the options of the conformance suite come from here."""

pytest_plugins = ("refnn.pytest_plugin",)
