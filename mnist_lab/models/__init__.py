"""The models: LightningModules on one abstract Classifier."""

from mnist_lab.models.classifier import Classifier
from mnist_lab.models.cnn import CNN
from mnist_lab.models.mlp import MLP
from mnist_lab.models.softmax import SoftmaxRegression

__all__ = ["CNN", "MLP", "Classifier", "SoftmaxRegression"]
