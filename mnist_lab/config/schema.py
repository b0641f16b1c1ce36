"""Schemas of the config: type, range, unit and meaning of each knob; conf/ chooses the values.

A field's default holds where no file in conf/ sets another.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import MISSING, DictConfig, OmegaConf

from mnist_lab.config.callback_schema import (
    Checkpoint,
    EarlyStopping,
    MovingAverage,
    Pictures,
    WeightMean,
)
from mnist_lab.config.field import knob
from mnist_lab.data.sets import AUGMENTS, DATASETS, EMNIST_SPLITS, MAX_SEED, NUM_TRAIN
from mnist_lab.models import arguments
from mnist_lab.models.arguments import ACTIVATIONS, OUTPUTS

PRECISIONS = (
    *("auto", "32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true"),
    *("32", "bf16", "16", "64", "transformer-engine", "transformer-engine-float16"),
)


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
    dropout: Any = knob(
        0.0,
        "probability that a hidden unit is left out; a list has one for each hidden layer",
        arguments.DROPOUT,
        each=float,
        length="hidden_dims",
    )
    batch_norm: bool = knob(False, "batch norm before each activation")
    output: str = knob("identity", "what the logits pass through last", choices=tuple(OUTPUTS))


@dataclass
class CNN(Model):
    """Convolutions with pooling, then hidden layers."""

    _target_: str = "mnist_lab.models.CNN"
    channels: list[int] = knob([24, 32], "channels of each convolution", arguments.SIZE, each=int)
    kernel_size: Any = knob(
        [5, 3],
        "side of the kernels in pixels; a list has one for each",
        arguments.KERNEL_SIZE,
        each=int,
        length="channels",
    )
    pool: Any = knob(
        2,
        "side of the max pooling after each convolution, 1 is none; a list has one for each",
        arguments.SIZE,
        each=int,
        length="channels",
    )
    hidden_dims: list[int] = knob([256], "units of each hidden layer", arguments.SIZE, each=int)
    activation: str = knob(
        "relu", "after each convolution and hidden layer", choices=tuple(ACTIVATIONS)
    )
    dropout: Any = knob(
        0.0,
        "probability that a hidden unit is left out; a list has one for each hidden layer",
        arguments.DROPOUT,
        each=float,
        length="hidden_dims",
    )
    batch_norm: bool = knob(False, "batch norm before each activation")


@dataclass
class GlobalPoolCNN(Model):
    """Convolutions with batch norm, then global average pooling and one linear layer."""

    _target_: str = "mnist_lab.models.GlobalPoolCNN"
    channels: list[int] = knob(
        [8, 12, 16, 16, 16], "channels of each convolution", arguments.SIZE, each=int
    )
    kernel_size: Any = knob(
        3,
        "side of the kernels in pixels; a list has one for each",
        arguments.KERNEL_SIZE,
        each=int,
        length="channels",
    )
    pool: Any = knob(
        [1, 1, 2, 2, 1],
        "side of the max pooling after each convolution, 1 is none; a list has one for each",
        arguments.SIZE,
        each=int,
        length="channels",
    )
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
        "training images kept for validation; 0 trains on all, null keeps a tenth",
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


@dataclass
class Optimizer:
    """What every optimizer takes."""

    name: str = MISSING
    lr: float = knob(1e-3, "learning rate; the peak of it under one_cycle", above=0)
    weight_decay: float = knob(0.0, "strength of weight decay", low=0)


@dataclass
class Adam(Optimizer):
    """Adam: Kingma and Ba, 2015."""

    name: str = "adam"
    betas: list[float] = knob(
        [0.9, 0.999],
        "decay of the two running averages",
        low=0,
        below=1,
        each=float,
        length=2,
    )
    eps: float = knob(1e-8, "added to the denominator", above=0)


@dataclass
class AdamW(Adam):
    """Adam with decoupled weight decay: Loshchilov and Hutter, 2019."""

    name: str = "adamw"
    weight_decay: float = knob(0.01, "strength of the decoupled weight decay", low=0)


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent."""

    name: str = "sgd"
    lr: float = knob(0.01, "learning rate; the peak of it under one_cycle", above=0)
    momentum: float = knob(0.0, "share of the last update that is kept", low=0, below=1)
    nesterov: bool = knob(False, "Nesterov's momentum; needs momentum above 0")


@dataclass
class OwnOptimizer:
    """Any torch.optim.Optimizer by its class, with its arguments."""

    takes_any: ClassVar[bool] = True
    _target_: str = knob(MISSING, "the optimizer's class; its arguments are keys beside it")
    lr: float | None = knob(None, "learning rate; null is the class's own", above=0)


@dataclass
class Scheduler:
    """A constant learning rate, and what every schedule takes."""

    name: str = "none"


@dataclass
class Cosine(Scheduler):
    """Cosine from lr to eta_min over the whole run, a step at a time."""

    name: str = "cosine"
    eta_min: float = knob(0.0, "learning rate at the end", low=0)


@dataclass
class WarmupCosine(Cosine):
    """Up to lr in equal steps, then by a cosine to eta_min over the rest of the run."""

    name: str = "warmup_cosine"
    warmup: float = knob(0.1, "share of the run in which lr rises", low=0, below=1)


@dataclass
class OneCycle(Scheduler):
    """Up to lr and down again over the whole run, a step at a time: Smith and Topin, 2018."""

    name: str = "one_cycle"
    pct_start: float = knob(0.3, "share of the run in which lr rises", above=0, below=1)
    div_factor: float = knob(25.0, "lr over the first learning rate", above=0)
    final_div_factor: float = knob(1e4, "first learning rate over the last", above=0)
    cycle_momentum: bool = knob(True, "whether momentum (Adam: beta1) moves the other way")


@dataclass
class Exponential(Scheduler):
    """The learning rate times gamma after each epoch."""

    name: str = "exponential"
    gamma: float = knob(0.9, "factor an epoch", above=0, high=1)


@dataclass
class Plateau(Scheduler):
    """The learning rate times factor when the validation loss has stopped falling."""

    name: str = "plateau"
    factor: float = knob(0.1, "factor at a plateau", above=0, below=1)
    patience: int = knob(3, "epochs without progress before it", low=0)


@dataclass
class OwnScheduler:
    """Any torch.optim.lr_scheduler.LRScheduler by its class, with its arguments."""

    takes_any: ClassVar[bool] = True
    _target_: str = knob(MISSING, "the schedule's class; its arguments are keys beside it")
    interval: str = knob("epoch", "what the schedule counts", choices=("epoch", "step"))


@dataclass
class Trainer:
    """The arguments of lightning.Trainer; null is Lightning's own default."""

    _target_: str = "lightning.Trainer"
    accelerator: str | None = knob(
        None, "auto, cpu, gpu, cuda or mps", choices=("auto", "cpu", "gpu", "cuda", "mps")
    )
    strategy: Any = knob(None, "how devices share the work: auto, ddp, ...")
    devices: Any = knob(None, "number of devices, list of their indices, or auto")
    num_nodes: int | None = knob(None, "machines that share the run", low=1)
    precision: Any = knob(
        "auto",
        "auto is bf16-mixed where the model gains by it and the hardware has it, else 32-true",
        choices=PRECISIONS,
    )
    logger: Any = knob(None, "false turns the logger group off; a node, or a list, replaces it")
    callbacks: Any = knob(None, "a list of nodes, besides those of the callbacks group")
    fast_dev_run: Any = knob(
        None,
        "true runs one batch of everything and keeps nothing; a number so many",
        number=int,
        low=0,
        words=(True, False),
    )
    max_epochs: int | None = knob(None, "epochs; -1 is no limit", low=-1)
    min_epochs: int | None = knob(None, "epochs before an early stop", low=0)
    max_steps: int | None = knob(None, "optimizer steps; -1 is no limit", low=-1)
    min_steps: int | None = knob(None, "steps before an early stop", low=0)
    max_time: Any = knob(None, "longest time, DD:HH:MM:SS")
    limit_train_batches: Any = knob(
        None, "batches (int) or share (float) of a training epoch", number=float, low=0, share=True
    )
    limit_val_batches: Any = knob(
        None, "batches (int) or share (float) of validation", number=float, low=0, share=True
    )
    limit_test_batches: Any = knob(
        None, "batches (int) or share (float) of test", number=float, low=0, share=True
    )
    limit_predict_batches: Any = knob(
        None, "batches (int) or share (float) of predict", number=float, low=0, share=True
    )
    overfit_batches: Any = knob(
        None, "batches (int) or share (float) to overfit on", number=float, low=0, share=True
    )
    val_check_interval: Any = knob(
        None,
        "validate after so many batches (int), share (float) or time (DD:HH:MM:SS)",
        above=0,
        share=True,
    )
    check_val_every_n_epoch: int | None = knob(
        1, "validate after every n-th epoch; null counts val_check_interval across epochs", low=1
    )
    num_sanity_val_steps: int | None = knob(None, "validation batches before training", low=-1)
    log_every_n_steps: int | None = knob(None, "steps between logged values", low=0)
    enable_checkpointing: bool | None = knob(None, "false keeps no checkpoint")
    enable_progress_bar: bool | None = knob(None, "false shows no progress")
    enable_model_summary: bool | None = knob(None, "false shows no table of layers")
    accumulate_grad_batches: int | None = knob(None, "batches in an optimizer step", low=1)
    gradient_clip_val: float | None = knob(None, "largest gradient norm", low=0)
    gradient_clip_algorithm: str | None = knob(None, "norm or value", choices=("norm", "value"))
    deterministic: Any = knob(
        None, "true, false or warn: deterministic algorithms only", words=(True, False, "warn")
    )
    benchmark: bool | None = knob(None, "true lets cuDNN measure its algorithms")
    inference_mode: bool | None = knob(None, "false evaluates under no_grad instead")
    use_distributed_sampler: bool | None = knob(None, "for loaders other than the lab's")
    profiler: Any = knob(None, "simple, advanced, pytorch, or a node with a _target_")
    detect_anomaly: bool | None = knob(None, "true finds the operation that made a NaN")
    barebones: bool | None = knob(None, "true turns all but training off, to measure it")
    plugins: Any = knob(None, "a node with a _target_, or a list of them")
    sync_batchnorm: bool | None = knob(None, "true shares batch norm statistics on GPUs")
    reload_dataloaders_every_n_epochs: int | None = knob(None, "Lightning's own", low=0)
    default_root_dir: str | None = knob("${run_dir}", "the run's directory; set hydra.run.dir")
    enable_autolog_hparams: bool | None = knob(None, "Lightning's own")
    model_registry: str | None = knob(None, "Lightning's own")


@dataclass
class Train:
    """One run."""

    model: Any = MISSING
    data: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    logger: Any = None
    callbacks: Any = None
    metrics: Any = None
    seed: int = knob(0, "seeds weights, order, dropout and augmentation", low=0, high=MAX_SEED)
    monitor: str = knob("val/acc", "metric that chooses the best checkpoint")
    mode: str = knob(
        "${best_mode:${monitor}}",
        "whether more or less of it is better; max, or as the class of one of metrics= says",
        choices=("max", "min"),
    )
    protocol: str = knob(
        "open",
        "sealed reads the test images once, at the end of a run and never in a sweep's trials, and "
        "the manifest counts each reading",
        choices=("open", "sealed"),
    )
    init_from: str | None = knob(
        None, "a run's directory, or a checkpoint, whose weights training begins with"
    )
    freeze: list[str] | None = knob(
        None, "names of modules that are not trained, such as [net.1] or [net.*]"
    )
    threads: Any = knob(
        "auto",
        "of the CPU; auto is OMP_NUM_THREADS where it is set, else all cores that the run may use",
        number=int,
        words=("auto",),
        low=1,
        high=1024,
    )
    bits: str | None = knob(
        None,
        "portable gives softmax and MLPs the same weights on every x86 processor with AVX2",
        choices=("portable",),
    )
    name: str | None = knob(None, "a word for the run's or sweep's directory, beside its time")
    tags: list[str] | None = knob(
        None, "words to find it by, such as [paper,baseline]; mnist-lab runs tag gives others"
    )
    note: str | None = knob(None, "a text about it; mnist-lab runs note gives another")
    allow_targets: list[str] = knob(
        [], "prefixes of your own _target_s that may be built, such as [my_package.]"
    )
    run_dir: str | None = knob(
        "${hydra:runtime.output_dir}", "the run's directory; set hydra.run.dir"
    )


SCHEMAS: dict[str, dict[str, type[Any]]] = {
    "model": {
        "softmax": SoftmaxRegression,
        "mlp": MLP,
        "cnn": CNN,
        "global_pool_cnn": GlobalPoolCNN,
        "module": Module,
    },
    "data": {"data": Data},
    "optimizer": {"adam": Adam, "adamw": AdamW, "sgd": SGD, "own": OwnOptimizer},
    "scheduler": {
        "none": Scheduler,
        "cosine": Cosine,
        "warmup_cosine": WarmupCosine,
        "one_cycle": OneCycle,
        "exponential": Exponential,
        "plateau": Plateau,
        "own": OwnScheduler,
    },
    "trainer": {"trainer": Trainer},
    "callbacks": {
        "checkpoint": Checkpoint,
        "pictures": Pictures,
        "early_stopping": EarlyStopping,
        "ema": MovingAverage,
        "swa": WeightMean,
    },
}


def typed_node(schema: type[Any]) -> DictConfig:
    """Return a node of a schema; where arguments of another's class stand, it takes new keys."""
    node: DictConfig = OmegaConf.structured(schema)
    if getattr(schema, "takes_any", False):
        OmegaConf.set_struct(node, False)
    elif schema is Module:
        OmegaConf.set_struct(node.net, False)
    return node


def key_prefix(group: str, name: str) -> str:
    """Return what comes before a schema's knobs on the command line, with its dot."""
    return f"callbacks.{name}." if group == "callbacks" else f"{group}."
