"""A run's directory: its files, lock, manifest and signals."""
