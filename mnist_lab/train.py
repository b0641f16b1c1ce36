"""``python -m mnist_lab.train`` is ``mnist-lab train``; ``train()`` is in training.py."""

import sys

from mnist_lab.cli import command

if __name__ == "__main__":
    sys.exit(command(["train", *sys.argv[1:]]))
