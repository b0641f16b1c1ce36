"""A stack's training step as one CUDA graph.

A step is some two hundred short kernels. A GPU is through with them sooner than the processor has
launched them one by one; a graph is launched in one call.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]


class GraphedStep:
    """Replays what a step has launched, on the memory that it was recorded with.

    Args:
        step: takes a batch, and computes on the GPU alone: forward pass, backward pass and the
            optimizer's step. It is recorded here, and not run.
        batch: one of the batches, which all have its shape.

    Raises:
        RuntimeError: the step does what cannot be recorded, such as waiting for the GPU.
    """

    def __init__(self, step: Callable[[Batch], tuple[Tensor, ...]], batch: Batch) -> None:
        images, labels = batch
        self._batch = images.clone(), labels.clone()
        self._graph = torch.cuda.CUDAGraph()
        # torch's own stream may be of another GPU.
        stream = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._outputs = step(self._batch)

    @staticmethod
    def is_for(device: torch.device) -> bool:
        """Return whether steps on a device can be recorded."""
        return device.type == "cuda"

    def fits(self, batch: Batch) -> bool:
        """Return whether a batch has the shape of those that were recorded."""
        return all(own.shape == part.shape for own, part in zip(self._batch, batch, strict=True))

    def __call__(self, batch: Batch) -> tuple[Tensor, ...]:
        """Take a step, and return copies of what it has returned."""
        for own, part in zip(self._batch, batch, strict=True):
            own.copy_(part)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)
