"""Models as a user has them who calls backward and the optimizers himself."""

from typing import Any

import torch
from torch import Tensor

from mnist_lab.models import MLP


class Manual(MLP):  # type: ignore[misc]  # as users have it, though it is final
    """Steps one optimizer itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        """Take a step, or two of two optimizers."""
        optimizers: Any = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        loss = super().training_step(batch, batch_idx)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        return loss


class TwoOptimizers(Manual):  # type: ignore[misc]
    """Has an optimizer for weights and one for biases."""

    def configure_optimizers(self) -> Any:
        """Return both."""
        weights = [parameter for parameter in self.parameters() if parameter.dim() > 1]
        biases = [parameter for parameter in self.parameters() if parameter.dim() == 1]
        return [torch.optim.Adam(weights, lr=1e-3), torch.optim.SGD(biases, 0.05, momentum=0.9)]
