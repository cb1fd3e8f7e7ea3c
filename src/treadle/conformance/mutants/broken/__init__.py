"""The mutants, one file for each kind of promise. What their methods do wrong, their first line says."""
