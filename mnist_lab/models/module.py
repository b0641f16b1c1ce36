"""Any torch.nn.Module as a classifier."""

import inspect
from collections.abc import Mapping
from typing import Any, Unpack, final

import torch
from torch import nn

from mnist_lab.errors import ConfigError, first_line
from mnist_lab.models.arguments import NUM_CLASSES
from mnist_lab.models.classifier import Classifier, SharedArgs
from mnist_lab.models.layers import is_list, plain
from mnist_lab.models.named import build_named, named_class, takes


@final
class Module(Classifier):
    """Classifies by a network whose class knows nothing of Lightning.

    The checkpoint holds the name of the class and its arguments, not the object.

    Args:
        net: ``_target_``, the dotted name of an ``nn.Module``'s class, and its arguments: numbers,
            texts, lists, dicts, and further modules by ``_target_``. It takes ``(B, *in_shape)``
            floats from 0 to 1 and gives ``(B, num_classes)`` logits. Where its class has arguments
            ``num_classes`` and ``in_shape``, they are the model's unless given.
        shared: the arguments of ``Classifier``; without ``num_classes`` it has as many classes as
            the network gives logits.

    Raises:
        ConfigError: there is no such class, it does not take its arguments or the images, or it
            gives another number of logits than there are classes.
    """

    def __init__(self, net: Mapping[str, Any], **shared: Unpack[SharedArgs]) -> None:
        num_classes = shared.get("num_classes")
        settings: Any = {**shared, "num_classes": num_classes or int(NUM_CLASSES.high)}
        super().__init__(**settings)
        if not net.get("_target_"):
            raise ConfigError("model.net._target_: must be the dotted name of an nn.Module's class")
        named = named_class("model.net._target_", str(net["_target_"]), nn.Module)
        known = {"num_classes": num_classes, "in_shape": list(self.in_shape)}
        own = {
            name: value
            for name, value in known.items()
            if value and takes(named, name, passed_on=False)
        }
        if num_classes is None and "num_classes" not in net and _needs_num_classes(named):
            raise ConfigError(
                f"model.net._target_={net['_target_']}: takes num_classes, which nothing says; "
                "type model.num_classes=10, or give the data module an attribute num_classes"
            )
        self.net = _built("model.net", {**own, **plain(net)})
        self._check_outputs(str(net["_target_"]), num_classes)
        self.hparams["num_classes"] = self.num_classes
        self.initialize()

    @torch.no_grad()
    def _check_outputs(self, name: str, num_classes: int | None) -> None:
        """Run the network on two images, and count its classes where nothing says how many."""
        images = torch.zeros(2, *self.in_shape)
        if images.is_meta:  # built for its shapes alone, which not every network can be run for
            return
        self.net.eval()
        try:
            logits = self.net(images)
        except Exception as error:
            reason = first_line(error)
            raise ConfigError(
                f"model.net._target_={name}: does not take images {tuple(images.shape)}: {reason}"
            ) from error
        finally:
            self.net.train()
        shape = tuple(getattr(logits, "shape", ()))
        if num_classes is None and len(shape) == 2 and shape[1] in NUM_CLASSES:
            self.num_classes = shape[1]
        if shape != (2, self.num_classes):
            raise ConfigError(
                f"model.net._target_={name}: gives {shape or type(logits).__name__} for 2 images, "
                f"and model.num_classes={self.num_classes} needs (2, {self.num_classes})"
            )


def _needs_num_classes(named: type[nn.Module]) -> bool:
    """Return whether a network cannot be built without being told the number of classes."""
    known = inspect.signature(named).parameters.get("num_classes")
    return known is not None and known.default is inspect.Parameter.empty


def _built(key: str, node: Any) -> Any:
    if is_list(node):
        return [_built(f"{key}.{number}", part) for number, part in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    arguments = {str(name): _built(f"{key}.{name}", part) for name, part in node.items()}
    if "_target_" not in arguments:
        return arguments
    return build_named(f"{key}._target_", arguments.pop("_target_"), nn.Module, **arguments)
