"""The records of scripts/records.py: what they are, how a seed is measured, and their table."""
