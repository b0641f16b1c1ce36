"""The parts of scripts/crash_test.py: runs that are broken off, and how they are compared."""
