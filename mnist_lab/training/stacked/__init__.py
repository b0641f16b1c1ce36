"""Several trials trained as one stacked model: network.py stacks, train.py trains and records."""
