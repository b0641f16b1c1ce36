"""Writes a model as a file that other programs run, and checks that it gives the same answers."""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mnist_lab.data.archive import load_split
from mnist_lab.errors import ConfigError, LabError, StorageError, reason
from mnist_lab.files.atomic import replace_atomic
from mnist_lab.models import Classifier
from mnist_lab.models.classifier import PIXEL_SCALE

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 1e-4  # between logits, relative to the largest where that is above 1
OPSET = 18  # the oldest that torch's exporter writes, and so what most runtimes read
_BATCH = 500
_CHECKED = 1_000  # test images


@dataclass(frozen=True)
class Parity:
    """How a file's answers compare with its model's.

    Args:
        images: how many test images were asked about.
        difference: largest between two logits.
        scale: largest logit, by its absolute value.
        same: how many images got the same class.
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
    """A trained network that takes images as they are stored.

    Args:
        model: the model in float32; its ``net`` is shared, not copied.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.net = model.net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, ``(B, num_classes)``, of ``(B, 1, 28, 28) uint8``."""
        logits = self.net(images.to(torch.float32) * PIXEL_SCALE)
        return logits, logits.softmax(dim=1)


def export(model: Classifier, path: Path, kind: str) -> Parity:
    """Write a model to a file, if what the file will hold gives the model's answers.

    Args:
        model: the model, in float32 on the CPU.
        path: the file; one that is there is replaced as a whole.
        kind: ``onnx`` or ``torch``.

    Raises:
        ConfigError: what the format needs is not installed.
        LabError: the file would not give the model's answers.
        StorageError: it cannot be written.
    """
    if kind == "onnx":
        _require_onnx()
    wrapped = FromBytes(model).eval()
    images = load_split("mnist", train=False).images[:_CHECKED]
    with _quiet():
        content = _as_onnx(wrapped) if kind == "onnx" else _as_torch(wrapped)
        parity = _compare(wrapped, content, images, kind)
    if math.isnan(parity.difference):
        raise LabError(f"{path}: not written: the model's answers are no numbers: it has diverged")
    if not parity.holds:
        raise LabError(
            f"{path}: not written: its logits differ by {parity.difference:.1e} from the model's, "
            f"and at most {TOLERANCE:.0e} is allowed; try the other --format"
        )
    try:
        replace_atomic(path, lambda file: file.write(content))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {reason(error)}") from error
    return parity


def _require_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise ConfigError(
                f"--format onnx: {name} is not installed; pip install 'mnist_lab[export]', or take "
                "--format torch"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporters print about their own steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _exported(wrapped: nn.Module) -> torch.export.ExportedProgram:
    # A batch of 2, as torch takes 0 and 1 for sizes that never change.
    example = (torch.zeros(2, 1, 28, 28, dtype=torch.uint8),)
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    with torch.no_grad():
        program = torch.export.export(wrapped, example, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files on this machine
    return program


def _as_torch(wrapped: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_exported(wrapped), buffer)
    return buffer.getvalue()


def _as_onnx(wrapped: nn.Module) -> bytes:
    """Return a model that onnx's own checker finds sound.

    Of torch's two exporters this is the one by ``torch.export``: the other, by tracing, is
    deprecated since torch 2.9.
    """
    import onnx

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
        del node.metadata_props[:]  # where in torch and in the lab each came from
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def _compare(wrapped: nn.Module, content: bytes, images: Tensor, kind: str) -> Parity:
    """Ask the model and what will be in the file about test images, in batches of two sizes."""
    ask = _onnx_session(content) if kind == "onnx" else _torch_program(content)
    starts = range(1, len(images), _BATCH)
    batches = [images[:1], *(images[start : start + _BATCH] for start in starts)]
    with torch.no_grad():
        own = torch.cat([wrapped(one)[0] for one in batches])
        found = torch.cat([ask(one) for one in batches])
    return Parity(
        images=len(images),
        difference=float((own - found).abs().max()),
        scale=float(own.abs().max()),
        same=int((own.argmax(dim=1) == found.argmax(dim=1)).sum()),
    )


def _onnx_session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def ask(images: Tensor) -> Tensor:
        logits: np.ndarray[Any, Any] = session.run(["logits"], {"images": images.numpy()})[0]
        return torch.from_numpy(logits)

    return ask


def _torch_program(content: bytes) -> Any:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda images: module(images)[0]
