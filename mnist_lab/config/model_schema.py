"""Schemas of the model and data groups."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from mnist_lab.config.knob import knob
from mnist_lab.data.sets import AUGMENTS, DATASETS, EMNIST_SPLITS, MAX_SEED, NUM_TRAIN
from mnist_lab.models import arguments
from mnist_lab.models.arguments import ACTIVATIONS, OUTPUTS


def _kernel_size(default: Any) -> Any:
    text = "side of the kernels in pixels; a list has one for each"
    return knob(default, text, arguments.KERNEL_SIZE, each=int, length="channels")


def _pool(default: Any) -> Any:
    text = "side of the max pooling after each convolution, 1 is none; a list has one for each"
    return knob(default, text, arguments.SIZE, each=int, length="channels")


def _hidden_dropout() -> Any:
    text = "probability that a hidden unit is left out; a list has one for each hidden layer"
    return knob(0.0, text, arguments.DROPOUT, each=float, length="hidden_dims")


@dataclass
class Model:
    """What every model takes."""

    _target_: str = MISSING
    num_classes: int | None = knob(
        None, "classes that the labels are of; null is the data's", arguments.NUM_CLASSES
    )
    in_shape: Any = knob(
        None,
        "channels, height and width of the images; null is the data's",
        arguments.SIZE,
        each=int,
        length=3,
    )
    init: str = knob("default", "weight initialisation", choices=arguments.INITS)
    label_smoothing: float = knob(
        0.0,
        "share of the target spread over all classes in training",
        arguments.LABEL_SMOOTHING,
    )


@dataclass
class SoftmaxRegression(Model):
    """One linear layer."""

    _target_: str = "mnist_lab.models.SoftmaxRegression"
    output: str = knob("identity", "what the logits pass through last", choices=tuple(OUTPUTS))


@dataclass
class MLP(Model):
    """Hidden layers of units, each with an activation."""

    _target_: str = "mnist_lab.models.MLP"
    hidden_dims: list[int] = knob(
        [512, 256], "units of each hidden layer", arguments.SIZE, each=int
    )
    activation: str = knob("relu", "after each hidden layer", choices=tuple(ACTIVATIONS))
    dropout: Any = _hidden_dropout()
    batch_norm: bool = knob(False, "batch norm before each activation")
    noise: float = knob(
        0.0,
        "standard deviation of Gaussian noise on pixels and before each activation, in training",
        arguments.NOISE,
    )
    output: str = knob("identity", "what the logits pass through last", choices=tuple(OUTPUTS))


@dataclass
class CNN(Model):
    """Convolutions with pooling, then hidden layers."""

    _target_: str = "mnist_lab.models.CNN"
    channels: list[int] = knob([24, 32], "channels of each convolution", arguments.SIZE, each=int)
    kernel_size: Any = _kernel_size([5, 3])
    pool: Any = _pool(2)
    hidden_dims: list[int] = knob([256], "units of each hidden layer", arguments.SIZE, each=int)
    activation: str = knob(
        "relu", "after each convolution and hidden layer", choices=tuple(ACTIVATIONS)
    )
    dropout: Any = _hidden_dropout()
    batch_norm: bool = knob(False, "batch norm before each activation")


@dataclass
class GlobalPoolCNN(Model):
    """Convolutions with batch norm, then global average pooling and one linear layer."""

    _target_: str = "mnist_lab.models.GlobalPoolCNN"
    channels: list[int] = knob(
        [8, 12, 16, 16, 16], "channels of each convolution", arguments.SIZE, each=int
    )
    kernel_size: Any = _kernel_size(3)
    pool: Any = _pool([1, 1, 2, 2, 1])
    separable: bool = knob(False, "convolutions after the first within channels, then across them")
    residual: bool = knob(False, "convolutions that keep the channels are added to their input")
    activation: str = knob("relu", "after each convolution", choices=tuple(ACTIVATIONS))
    dropout: float = knob(
        0.0, "probability that a mean is left out before the linear layer", arguments.DROPOUT
    )


@dataclass
class Module(Model):
    """Any torch.nn.Module by its class and arguments, in the lab's classifier."""

    _target_: str = "mnist_lab.models.Module"
    net: dict[str, Any] = knob(
        {}, "the network: model.net._target_=mine.Net, and its arguments as model.net.width=24"
    )


MODELS: dict[str, type[Any]] = {
    "softmax": SoftmaxRegression,
    "mlp": MLP,
    "cnn": CNN,
    "global_pool_cnn": GlobalPoolCNN,
    "module": Module,
}


@dataclass
class Data:
    """MNIST, a set that shares its format, or images of one's own."""

    _target_: str = "mnist_lab.data.MNISTDataModule"
    dataset: str = knob("mnist", "which set", choices=DATASETS)
    split: str | None = knob(None, "which part of data=emnist", choices=EMNIST_SPLITS)
    root: str | None = knob(
        None,
        "folder of the sets; null is $MNIST_LAB_DATA or mnist_lab in the user's cache. Of "
        "data=folder the folder of the classes' folders, of data=arrays the .npz or .csv file",
    )
    batch_size: int = knob(128, "training samples in a step, across all devices", low=1)
    val_size: int | None = knob(
        5_000,
        "training images kept for validation; 0 trains on all, null keeps a tenth, or a folder's "
        "val",
        low=0,
        high=NUM_TRAIN - 1,
    )
    split_seed: int | None = knob(
        None, "draws the validation images; null takes the first ones", low=0, high=MAX_SEED
    )
    folds: int | None = knob(
        None, "parts of a cross-validation, in place of val_size; cv=5 trains each of 5", low=2
    )
    fold: int | None = knob(None, "the part that validates, from 0; the others train", low=0)
    augment: Any = knob(
        None,
        "change to training batches, or a list of them, as [affine,{name:cutout,size:6}]",
        choices=AUGMENTS,
        each=True,
    )
    seed: int = knob("${seed}", "what order and augmentation are drawn from", low=0, high=MAX_SEED)
