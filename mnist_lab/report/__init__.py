"""Comparison of any set of runs."""
