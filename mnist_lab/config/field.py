"""A knob is a field of a schema that knows its range: declaring, describing and checking it."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, field
from typing import Any

from omegaconf import OmegaConf

from mnist_lab.errors import ConfigError

_LIMIT_WORDS = {"low": "at least", "high": "at most", "above": "above", "below": "below"}
_TYPE_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def knob(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    number: type | None = None,
    each: type | None = None,
    length: str | int | None = None,
    words: tuple[Any, ...] = (),
    odd: bool = False,
    share: bool = False,
) -> Any:
    """Declare a field with its meaning and range.

    Args:
        default: the value where nothing is chosen.
        text: meaning, unit and scope, in words.
        low: smallest allowed value.
        high: largest allowed value.
        above: a bound that a value must exceed.
        below: a bound that a value must stay under.
        choices: the allowed names.
        number: the value is a number of this type, where the field's own type cannot say so.
        each: the value is a number of this type or a list of them, and the range holds for each.
        length: how long a list must be: a number, or the name of the list that it goes with.
        words: what is allowed besides numbers.
        odd: whether the number must be odd.
        share: whether a fraction is a share of a whole, of which there is one at most.
    """
    limits = {"low": low, "high": high, "above": above, "below": below}
    metadata = {
        "text": text,
        "limits": {name: limit for name, limit in limits.items() if limit is not None},
        "choices": choices,
        "number": number or each,
        "each": each,
        "length": length,
        "words": words,
        "odd": odd,
        "share": share,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(knob: Field[Any]) -> Any:
    """Return a knob's default."""
    return knob.default_factory() if knob.default_factory is not MISSING else knob.default


def check_knob(key: str, knob: Field[Any], node: Mapping[str, Any]) -> None:
    """Check a knob's value in a node against its range.

    Raises:
        ConfigError: the value is out of range.
    """
    value, metadata = node[knob.name], knob.metadata
    if value is None and knob.default is None:
        return
    wrong = ConfigError(f"{key}={shown(value)}: must be {requirement(knob)}")
    if names := metadata["choices"]:
        if str(value) not in names:
            raise ConfigError(f"{wrong}{nearest(str(value), names)}")
        return
    is_list = OmegaConf.is_list(value)
    if is_list and metadata["number"] and not metadata["each"]:
        raise wrong
    for one in value if is_list else [value]:
        if not _is_allowed(one, metadata):
            raise wrong
    if is_list and metadata["length"] is not None:
        _check_length(key, value, metadata["length"], node)


def _is_allowed(value: Any, metadata: Mapping[str, Any]) -> bool:
    if any(
        value is word or (isinstance(word, str) and value == word) for word in metadata["words"]
    ):
        return True
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if metadata["number"] is int and not (is_number and isinstance(value, int)):
        return False
    if not is_number or (metadata["words"] and not metadata["number"]):
        return not metadata["number"] and not metadata["words"]
    limits = metadata["limits"]
    return (
        math.isfinite(value)
        and value >= limits.get("low", -math.inf)
        and value <= limits.get("high", math.inf)
        and value > limits.get("above", -math.inf)
        and value < limits.get("below", math.inf)
        and not (metadata["odd"] and value % 2 == 0)
        and not (metadata["share"] and isinstance(value, float) and value > 1)
    )


def _check_length(key: str, value: Any, length: str | int, node: Mapping[str, Any]) -> None:
    needed = length if isinstance(length, int) else len(node[length])
    if len(value) != needed:
        other = "" if isinstance(length, int) else f", one for each of {length}"
        single = "" if isinstance(length, int) else "one number or "
        raise ConfigError(f"{key}={shown(value)}: must be {single}a list of {needed}{other}")


def requirement(knob: Field[Any]) -> str:
    """Return in words what a knob's value must be."""
    metadata = knob.metadata
    if metadata["choices"]:
        return "one of " + ", ".join(metadata["choices"])
    number = metadata["number"]
    name = number.__name__ if number else str(getattr(knob.type, "__name__", knob.type))
    kind = _TYPE_WORDS.get(name.removesuffix(" | None"), "")
    if metadata["each"]:
        count = f" of {metadata['length']}" if isinstance(metadata["length"], int) else ""
        is_list = str(knob.type).startswith("list")
        kind = (
            kind.replace("a ", f"a list{count}, each a ") if is_list else f"{kind} or a list{count}"
        )
        kind += "" if is_list or not metadata["limits"] else ", each"
    limits = [
        f"{_LIMIT_WORDS[name]} {limit:g}" if abs(limit) < 1e6 else f"{_LIMIT_WORDS[name]} {limit:,}"
        for name, limit in metadata["limits"].items()
    ]
    text = " ".join(filter(None, [kind, " and ".join(limits)]))
    if metadata["odd"]:
        text += " and odd"
    if metadata["share"]:
        text = f"{text.replace('a number', 'a whole number')}, or a share of at most 1.0"
    if text and metadata["words"]:
        text += ", or " + " or ".join(shown(word) for word in metadata["words"])
    return text or str(metadata["text"])


def shown(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return str(value)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a question after the allowed name that is nearest, or nothing."""
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""
