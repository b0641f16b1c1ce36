"""The verbs of the ``mnist-lab`` command, one a file: arguments in, exit code out."""
