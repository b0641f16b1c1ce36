"""``python -m mnist_lab VERB ...`` is ``mnist-lab VERB ...``."""

import sys

from mnist_lab.cli.main import command

if __name__ == "__main__":
    sys.exit(command())
