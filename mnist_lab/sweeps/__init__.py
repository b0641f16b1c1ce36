"""Sweeps: many trials as one program, a study that remembers, and any engine beneath."""
