"""Checkpoints of a run: when they are saved, what they hold, and how a run is resumed from one."""
