"""Names and ranges of the models' arguments, for the models and the config's schema; no torch."""

import math
from dataclasses import dataclass
from typing import Any

ACTIVATIONS = {  # name: class of torch.nn
    "relu": "ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "identity": "Identity",
}
OUTPUTS = {"identity": "Identity", "log_sigmoid": "LogSigmoid"}  # name: class of torch.nn
INITS = ("default", "zeros", "glorot_uniform", "truncated_normal", "normal")
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}  # name: class of torch.optim
SCHEDULERS = ("none", "cosine", "warmup_cosine", "one_cycle", "exponential", "plateau")
OVER_THE_RUN = ("cosine", "warmup_cosine", "one_cycle")  # schedules by the run's length


@dataclass(frozen=True)
class Range:
    """The numbers that an argument takes; NaN and infinities are in no range.

    Args:
        low: smallest value.
        high: largest value.
        above: a bound that values exceed.
        below: a bound that values stay under.
        odd: whether values must be odd.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    odd: bool = False

    def __contains__(self, value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (
            is_number
            and math.isfinite(value)
            and self.low <= value <= self.high
            and self.above < value < self.below
            and not (self.odd and value % 2 == 0)
        )

    def __str__(self) -> str:
        limits = [("at least", self.low), ("at most", self.high)]
        limits += [("above", self.above), ("below", self.below)]
        texts = [
            f"{word} {limit:g}" if abs(limit) < 1e6 else f"{word} {limit:,}"
            for word, limit in limits
            if math.isfinite(limit)
        ]
        return " and ".join([*texts, *(["odd"] if self.odd else [])])


SIZE = Range(low=1, high=100_000)  # units, channels, pixels
KERNEL_SIZE = Range(low=1, odd=True)  # odd, so that padding keeps the size
DROPOUT = Range(low=0, below=1)
NOISE = Range(low=0)
LABEL_SMOOTHING = Range(low=0, high=1)
NUM_CLASSES = Range(low=2, high=1_000)
