"""How what is tested is run: frameworks, executables, modules, as functions of NumPy arrays."""
