"""Schemas of the optimizer and scheduler groups: types and ranges; conf/ has the lab's defaults."""

from dataclasses import dataclass
from typing import ClassVar

from omegaconf import MISSING

from mnist_lab.config.knob import knob


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


OPTIMIZERS: dict[str, type] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "own": OwnOptimizer}


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


SCHEDULERS: dict[str, type] = {
    "none": Scheduler,
    "cosine": Cosine,
    "warmup_cosine": WarmupCosine,
    "one_cycle": OneCycle,
    "exponential": Exponential,
    "plateau": Plateau,
    "own": OwnScheduler,
}
