"""Exports a model to ONNX or another file that programs run, and checks the file's logits."""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mnist_lab.config.extras import require
from mnist_lab.data.mnist_files import load_split
from mnist_lab.errors import ConfigError, LabError
from mnist_lab.files.atomic import write_atomic, write_errors
from mnist_lab.models import Classifier
from mnist_lab.models.layers import fitted

TOLERANCE = 1e-4  # between logits, relative to the largest where that is above 1
OPSET = 18  # the oldest that torch's exporter writes, and so what most runtimes read
_BATCH = 500
_CHECKED = 1_000  # test images
_Logits: TypeAlias = Callable[[Tensor], Tensor]  # (B, C, H, W) uint8 -> (B, num_classes)


@dataclass(frozen=True)
class Parity:
    """Comparison of an exported file's logits with the model's.

    Args:
        images: number of test images.
        difference: largest absolute difference between two logits.
        scale: largest absolute logit.
        same: number of images that got the same class.
    """

    images: int
    difference: float
    scale: float
    same: int

    @property
    def holds(self) -> bool:
        """Whether the logits differ by rounding only."""
        return self.difference <= TOLERANCE * max(1.0, self.scale)


class FromBytes(nn.Module):
    """A trained model that takes images as they are stored, and gives probabilities as well.

    Args:
        model: the model in float32, whose own ``forward`` is exported; it is shared, not copied.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        if not isinstance(model, Classifier):
            raise ConfigError(
                f"{type(model).__name__}: only a mnist_lab.models.Classifier is exported; "
                "model=module makes one of your network"
            )
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, ``(B, num_classes)``, of ``(B, *in_shape) uint8``."""
        logits = self.model(images)
        return logits, logits.softmax(dim=1)


def export(model: Classifier, path: Path, kind: str) -> Parity:
    """Write a model to a file, if the file gives the model's logits.

    Args:
        model: the model, in float32 on the CPU.
        path: the file; an existing one is replaced as a whole.
        kind: ``onnx`` or ``torch``.

    Raises:
        ConfigError: a package that the format needs is not installed.
        LabError: the logits are NaN, or the file's differ from the model's.
        StorageError: the file cannot be written.
    """
    if kind == "onnx":
        require("export", "onnx", "onnxscript", "onnxruntime", by="--format onnx")
    wrapped = FromBytes(model).eval()
    images = load_split("mnist", train=False, fills=False).images[:_CHECKED]
    images = fitted(images, model.in_shape)
    with _quiet():
        content, exported = _as_onnx(wrapped) if kind == "onnx" else _as_torch(wrapped)
        parity = _compare(wrapped, exported, images)
    if math.isnan(parity.difference):
        raise LabError(f"{path}: not written: the model outputs NaN; training diverged")
    if not parity.holds:
        raise LabError(
            f"{path}: not written: its logits differ by {parity.difference:.1e} from the model's, "
            f"and at most {TOLERANCE:.0e} is allowed; try the other --format"
        )
    with write_errors(path):
        write_atomic(path, content)
    return parity


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters print and log about their own steps."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _exported(wrapped: FromBytes) -> torch.export.ExportedProgram:
    # A batch of 2, as torch takes 0 and 1 for sizes that never change.
    example = (torch.zeros(2, *wrapped.model.in_shape, dtype=torch.uint8),)
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    with torch.no_grad():
        program = torch.export.export(wrapped, example, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files on this machine
    return program


def _as_torch(wrapped: FromBytes) -> tuple[bytes, _Logits]:
    """Return the content of a file, and the logits of what is read from it."""
    buffer = io.BytesIO()
    torch.export.save(_exported(wrapped), buffer)
    content = buffer.getvalue()
    module = torch.export.load(io.BytesIO(content)).module()
    return content, lambda images: module(images)[0]


def _as_onnx(wrapped: FromBytes) -> tuple[bytes, _Logits]:
    """Return the content of a file that ONNX's own checker passes, and the logits of its model.

    Of torch's two exporters this is the one by ``torch.export``; the one by tracing is deprecated
    since torch 2.9.
    """
    import onnx
    import onnxruntime

    program = torch.onnx.export(
        _exported(wrapped),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["logits", "probabilities"],
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # where in the source each comes from
    onnx.checker.check_model(proto, full_check=True)
    content = bytes(proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def logits(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    return content, logits


def _compare(wrapped: nn.Module, exported: _Logits, images: Tensor) -> Parity:
    """Compare two models' logits of images ``(N, C, H, W)``, in a batch of 1 and larger ones."""
    starts = range(1, len(images), _BATCH)
    batches = [images[:1], *(images[start : start + _BATCH] for start in starts)]
    with torch.no_grad():
        expected = torch.cat([wrapped(batch)[0] for batch in batches])
        logits = torch.cat([exported(batch) for batch in batches])
    return Parity(
        images=len(images),
        difference=float((expected - logits).abs().max()),
        scale=float(expected.abs().max()),
        same=int((expected.argmax(dim=1) == logits.argmax(dim=1)).sum()),
    )
