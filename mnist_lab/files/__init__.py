"""File formats, each read within bounds and written atomically."""
