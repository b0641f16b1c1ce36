"""Classes that settings name by a dotted name, a user's own or torch's, and what they take."""

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, TypeVar

from mnist_lab.errors import ConfigError, first_line

_Class = TypeVar("_Class")


def named_class(key: str, name: str, role: type[_Class]) -> type[_Class]:
    """Return the class of a dotted name.

    Args:
        key: where the name is set in a config.
        name: such as ``torch.optim.RMSprop``; the caller answers for its being imported.
        role: what it must be a subclass of.

    Raises:
        ConfigError: there is no such class, or it is of another kind.
    """
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key}={name}: cannot be imported: {first_line(error)}") from error
    if not (isinstance(found, type) and issubclass(found, role)):
        raise ConfigError(f"{key}={name}: must be a subclass of {role.__name__}")
    return found


def build_named(key: str, name: str, role: type[_Class], *first: Any, **arguments: Any) -> _Class:
    """Build an object of the class of a dotted name.

    Raises:
        ConfigError: there is no such class, or it does not take the arguments.
    """
    built = named_class(key, name, role)
    signature = inspect.signature(built)
    try:
        signature.bind(*first, **arguments)
    except TypeError as error:
        taken = ", ".join(list(signature.parameters)[len(first) :])
        raise ConfigError(f"{key}={name}: {error}; it takes {taken}") from error
    try:
        return built(*first, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}={name}: {first_line(error)}") from error


def takes(built: Any, name: str, *, passed_on: bool = True) -> bool:
    """Return whether a class takes an argument; with ``passed_on``, one that takes any counts."""
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(built).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    return name in parameters or (passed_on and inspect.Parameter.VAR_KEYWORD in kinds)
