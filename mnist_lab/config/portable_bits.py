"""Environment behind ``bits=portable``: the same kernels on every x86 processor of a maker."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from mnist_lab.errors import ConfigError

PORTABLE = "portable"
_MODELS = ("mnist_lab.models.MLP", "mnist_lab.models.SoftmaxRegression")
_PRECISIONS = ("auto", "32-true", "32")
_VARIABLES = {"MKL_CBWR": "AVX2,STRICT", "ATEN_CPU_CAPABILITY": "avx2"}


def choose_bits(bits: object) -> None:
    """Have MKL and torch, which is not imported yet, take the kernels that all processors have.

    MKL has other ones for Intel's processors than for AMD's.

    Processes that are started from here on take them as well.

    Args:
        bits: the key of the config; anything but ``portable`` leaves the environment as it is.

    Raises:
        ConfigError: torch was imported with other kernels.
    """
    if bits != PORTABLE:
        return
    is_set = all(os.environ.get(name) == value for name, value in _VARIABLES.items())
    if "torch" in sys.modules and not is_set:
        variables = " ".join(f"{name}={value}" for name, value in _VARIABLES.items())
        raise ConfigError(
            f"bits={PORTABLE}: has to be known before torch is imported, which it is already; set "
            f"{variables} in the environment"
        )
    os.environ |= _VARIABLES


def check_bits(plain: Mapping[str, Any]) -> None:
    """Check that what a config, as builtins, trains can have the same bits everywhere.

    Raises:
        ConfigError: it cannot.
    """
    if plain.get("bits") != PORTABLE:
        return
    target, precision = plain["model"]["_target_"], plain["trainer"]["precision"]
    if target not in _MODELS:
        raise ConfigError(
            f"bits={PORTABLE}: holds for model=softmax and model=mlp, and not for "
            f"{target}, whose bits depend on processor and threads; leave it out"
        )
    if precision not in _PRECISIONS:
        raise ConfigError(f"trainer.precision={precision}: must be 32-true where bits={PORTABLE}")
