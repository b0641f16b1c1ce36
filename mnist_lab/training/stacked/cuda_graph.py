"""A stack's training step as one CUDA graph.

A step is some two hundred short kernels. A GPU is through with them sooner than the processor has
launched them one by one; a graph is launched in one call.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from mnist_lab.errors import first_line
from mnist_lab.models import Classifier, Module

Batch = tuple[Tensor, Tensor]  # images and labels
Step = Callable[[Batch], tuple[Tensor, ...]]
_log = logging.getLogger(__name__)
_STEPS_BEFORE = 3  # by which libraries set themselves up


class GraphedStep:
    """Replays what a step has launched, on the memory that it was recorded with.

    Args:
        step: takes a batch, and computes on the GPU alone: forward pass, backward pass and the
            optimizer's step. It is recorded here, and not run.
        batch: one of the batches, which all have its shape.

    Raises:
        RuntimeError: the step does what cannot be recorded, such as waiting for the GPU.
    """

    def __init__(self, step: Step, batch: Batch) -> None:
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


class Replay:
    """The recorded step of a stack, if it has one.

    Args:
        model: one of the trials'. Only those of the lab's own are recorded: the code of another one
            may go by chance or count its calls, which a replayed step would not.
    """

    def __init__(self, model: Classifier) -> None:
        is_own = type(model).__module__.startswith("mnist_lab.models.")
        self._can_record = is_own and not isinstance(model, Module)
        self.forget()

    def forget(self) -> None:
        """Have the step recorded anew, as what it was recorded with has changed."""
        self._graph: GraphedStep | None = None
        self._shape, self._count = torch.Size(), 0  # of the last labels; steps in a row with it

    def of(self, step: Step, batch: Batch) -> GraphedStep | None:
        """Return what replays a step for a batch, recorded after a few that were not.

        None is returned on other devices than CUDA's, for a batch of another shape than the last
        ones, and where the step cannot be recorded.
        """
        images, labels = batch
        if not (self._can_record and GraphedStep.is_for(images.device)):
            return None
        if self._graph is None and self._is_time(labels.shape):
            try:
                self._graph = GraphedStep(step, batch)
            except RuntimeError as error:
                self._can_record = False
                reason = first_line(error.__context__ or error)  # what came before the end
                _log.info("the stack's steps are launched one by one: %s", reason)
        return self._graph if self._graph is not None and self._graph.fits(batch) else None

    def _is_time(self, shape: torch.Size) -> bool:
        """Note a step, and return whether enough before it had batches of its shape."""
        before = self._count if shape == self._shape else 0
        self._shape, self._count = shape, before + 1
        return before >= _STEPS_BEFORE
