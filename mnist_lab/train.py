"""``python -m mnist_lab.train`` is ``mnist-lab train``; ``train()`` is in training.py."""

import sys

from mnist_lab.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
