"""Fine-tuning: the weights that a run takes from another, and the layers that it leaves alone."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn

from mnist_lab.errors import ConfigError, listed
from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.files.regular import check_links
from mnist_lab.training.checkpoints.newest import best_of, check_weights, uncompiled

_MOST_NAMED = 12  # layers in an error


def load_initial(model: nn.Module, source: Path) -> dict[str, str]:
    """Put the weights of a run's best checkpoint, or of a file, into a model to be trained.

    Where the model's last layer has another number of outputs, as for other classes, that layer
    keeps the weights that it was built with.

    Returns:
        ``path`` of the checkpoint, and ``sha256`` of all its weights.

    Raises:
        InputError: there is no checkpoint, it is corrupt, or it is of another network.
        UntrustedError: the checkpoint names code, or a link leads out of the directory.
    """
    if source.is_dir():
        check_links(source)
        path, checkpoint = best_of(source)
    else:
        path, checkpoint = source, read_checkpoint(source)
    stored, own = uncompiled(checkpoint["state_dict"], model), model.state_dict()
    weights = {**stored, **{name: own[name] for name in _of_other_classes(stored, own)}}
    check_weights(path, weights, model)
    model.load_state_dict(weights)
    return {"path": str(path), "sha256": sha256_of(checkpoint["state_dict"])}


def _of_other_classes(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Return the weights of a model's last layer, where they differ in its number of outputs."""
    last, names = _last_layer(own), _last_layer(stored)
    if last != names or any(own[name].shape[1:] != stored[name].shape[1:] for name in names):
        return []
    return [name for name in names if own[name].shape != stored[name].shape]


def _last_layer(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the weights that are of the same module as the last one."""
    layers = [name.rpartition(".")[0] for name in weights]
    return [name for name, layer in zip(weights, layers, strict=True) if layer == layers[-1]]


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Exclude from training the modules that match patterns such as ``net.*``, and all below them.

    Raises:
        ConfigError: one matches no module that has weights, or nothing is left to train.
    """
    patterns = list(patterns)
    modules = {
        name: part for name, part in model.named_modules() if name and list(part.parameters())
    }
    all_names = listed([*modules], _MOST_NAMED, ", ")
    for pattern in patterns:
        names = [name for name in modules if fnmatchcase(name, pattern)]
        if not names:
            raise ConfigError(f"freeze={pattern}: must be a module of the model: {all_names}")
        for name in names:
            modules[name].requires_grad_(False)
    if patterns and not any(weight.requires_grad for weight in model.parameters()):
        raise ConfigError(f"freeze: leaves nothing to train of {all_names}")
