"""The verbs of the ``mnist-lab`` command, one a file that ``main.py`` names.

A verb takes its arguments and returns the exit code. Beside them is what they print by.
"""
