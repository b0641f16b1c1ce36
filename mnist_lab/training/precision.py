"""Precision and device of a trainer: what the machine has, and what ``auto`` stands for."""

from importlib.util import find_spec
from typing import Any

import lightning as L
import torch

from mnist_lab.errors import ConfigError


def resolve_precision(precision: Any, model: L.LightningModule, accelerator: str) -> Any:
    """Return the precision that ``auto`` stands for; any other one is returned as it is.

    It is bf16-mixed for a model that gains by it on a device with native bf16, else 32-true.
    """
    if precision != "auto":
        return precision
    gains = getattr(model, "gains_by_bf16", False)  # which a LightningModule may not say
    return "bf16-mixed" if gains and _has_bf16(accelerator) else "32-true"


def _has_bf16(accelerator: str) -> bool:
    match device_type(accelerator):
        case "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        case "mps":
            return False
    return any(map(torch.cpu.get_capabilities().get, ("amx_tile", "avx512_bf16")))


def device_type(accelerator: str | None) -> str:
    """Return the devices that Lightning takes for an accelerator: ``cuda``, ``mps`` or ``cpu``."""
    is_gpu = accelerator in (None, "auto", "gpu")
    if (is_gpu or accelerator == "cuda") and torch.cuda.is_available():
        return "cuda"
    if (is_gpu or accelerator == "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def check_accelerator(accelerator: str | None) -> None:
    """Check that the machine has the devices that are asked for by name.

    Raises:
        ConfigError: it has none that torch can use.
    """
    if accelerator in ("gpu", "cuda", "mps") and device_type(accelerator) == "cpu":
        raise ConfigError(
            f"trainer.accelerator={accelerator}: this machine has no such device that torch "
            f"{torch.__version__} can use; take trainer=cpu or trainer=auto"
        )


def check_portable(trainer: L.Trainer) -> None:
    """Check that a trainer computes with the bits that bits=portable promises.

    Raises:
        ConfigError: it does not.
    """
    device = trainer.strategy.root_device.type
    if device != "cpu" or trainer.precision != "32-true":
        raise ConfigError(
            f"bits=portable: holds for float32 on a CPU, and not for {trainer.precision} on "
            f"{device}; take trainer=cpu trainer.precision=32-true"
        )
    capability = torch.backends.cpu.get_cpu_capability()
    if capability != "AVX2" or not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        raise ConfigError(
            f"bits=portable: needs an x86 processor with AVX2 and a torch with MKL; this torch "
            f"computes with {capability}"
        )


def can_compute(precision: str, accelerator: str | None) -> bool:
    """Return whether the devices of this machine can compute in a precision."""
    if precision.startswith("transformer-engine"):
        return device_type(accelerator) == "cuda" and bool(find_spec("transformer_engine"))
    return not (precision.startswith("64") and device_type(accelerator) == "mps")
