"""The records that scripts/golden.py makes and compares with."""
