"""What scripts/benchmark.py measures, a module for each group of rows.

A row runs in a process of its own. Only that process imports the row's module: the one that starts
it stays small, because a child's peak memory counts its parent's at the time of the start.
"""
