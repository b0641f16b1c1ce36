"""Names and sizes of the sets that share MNIST's format, and of their batches; no torch."""

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
AUGMENTS = ("affine", "elastic")  # functions of data/augment.py
NUM_CLASSES = 10  # of each set
NUM_TRAIN = 60_000  # images, of which validation takes a part
NUM_TEST = 10_000  # images
EVAL_BATCH_SIZE = 1_000
MAX_SEED = 2**32 - 1  # what Lightning's seed_everything takes
