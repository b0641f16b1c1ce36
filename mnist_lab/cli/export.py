"""``mnist-lab export``: writes a run's model to a file that other programs run."""

from pathlib import Path

from mnist_lab.cli.arguments import Parser, check_may_write
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.terminal import say
from mnist_lab.config.saved import stored_config
from mnist_lab.errors import ConfigError
from mnist_lab.runs.summary import size_text

_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
_DESCRIPTION = """\
Writes the model of a run's best checkpoint to a file that runs without mnist_lab. It takes images
(B, *in_shape) uint8, for any B, and gives logits and probabilities (B, num_classes) float32,
whatever the precision of the run; in_shape and num_classes are the model's, 1, 28, 28 and 10 of
MNIST. The file is written only if it gives the checkpoint's logits on 1,000 test images. onnx
needs: pip install 'mnist_lab[export]'"""


def main(arguments: list[str]) -> int:
    """Export a run's model, and print the file's name and size and how its logits compare."""
    parser = Parser("mnist-lab export", description=_DESCRIPTION)
    parser.add_argument("run", type=Path, help="the run's directory")
    parser.add_argument(
        "--format",
        choices=_SUFFIXES,
        help="onnx, or torch for torch.export's .pt2; default: by the suffix of --output",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: model.onnx or .pt2 in the run"
    )
    parser.add_overwrite()
    options, _ = parser.parse_with_targets(arguments)
    kind = _format(options.format, options.output)
    path = options.output or options.run / f"model{_SUFFIXES[kind]}"
    stored_config(options.run, options.overrides)  # finds errors before the slow imports
    check_may_write(path, options.overwrite)

    with without_collector():
        from mnist_lab.inference.export import export
        from mnist_lab.inference.predict import open_run

    parity = export(open_run(options.run, options.overrides).model, path, kind)
    say(
        f"{path}: {size_text(path.stat().st_size)}; logits within {parity.difference:.1e} of the "
        f"checkpoint's on {parity.images:,} test images, {parity.same:,} of them the same digit"
    )
    return 0


def _format(typed: str | None, output: Path | None) -> str:
    """Return the format that is typed, or that of the file's suffix.

    Raises:
        ConfigError: the suffix is that of another format, or of none.
    """
    suffix = output.suffix.lower() if output else ""
    by_suffix = {end: name for name, end in _SUFFIXES.items()}
    if typed is None and suffix and suffix not in by_suffix:
        ends = " or ".join(by_suffix)
        raise ConfigError(f"--output {output}: must end in {ends}, or --format is required")
    kind = typed or by_suffix.get(suffix, "onnx")
    if by_suffix.get(suffix, kind) != kind:
        raise ConfigError(f"--output {output}: must end in {_SUFFIXES[kind]} with --format {kind}")
    return kind
