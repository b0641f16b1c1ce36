"""Declares, describes and checks the knobs: fields of a schema that know their range."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from omegaconf import OmegaConf

from mnist_lab.errors import ConfigError
from mnist_lab.models.arguments import Range

_LARGEST = 10**15 - 1  # whole numbers beyond it are more than torch counts to
_MOST_VALUES = 1_000  # in a list, such as of layers
_TYPE_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
_OTHER_WORDS = {"str": "a text: ", "list": "a list: ", "dict": "a mapping: "}


@dataclass(frozen=True)
class Knob:
    """What a field's values may be, and what they mean.

    Args:
        text: meaning, unit and scope, in words.
        range: the numbers that are allowed.
        choices: the allowed names; with ``each`` also a list of them, or of mappings.
        number: type of the number, where the field's own type cannot say so.
        each: whether the value is a number or a list of them, with the range of each.
        length: how long a list must be: a number, or the name of the list that it goes with.
        words: what is allowed besides numbers.
        share: whether a fraction is a share of a whole, of which there is one at most.
    """

    text: str
    range: Range | None = None
    choices: tuple[str, ...] = ()
    number: type | None = None
    each: bool = False
    length: str | int | None = None
    words: tuple[Any, ...] = ()
    share: bool = False

    def allows(self, value: Any) -> bool:
        """Return whether one number, or a word in its place, is allowed."""
        if any(value is word or (isinstance(word, str) and value == word) for word in self.words):
            return True
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (self.words and not self.number):
            return not self.number and not self.words
        if self.number is int and not isinstance(value, int):
            return False
        if self.share and isinstance(value, float) and value > 1:
            return False
        return value in (self.range or Range())


def knob(default: Any, text: str, limits: Range | None = None, /, **options: Any) -> Any:
    """Declare a field.

    Args:
        default: the value where nothing is chosen.
        text: meaning, unit and scope, in words.
        limits: the numbers that are allowed.
        options: the other fields of ``Knob``; ``low``, ``high``, ``above`` and ``below`` make a
            ``Range``, and ``each`` may be the type of the numbers.
    """
    bounds = {
        name: options.pop(name) for name in ("low", "high", "above", "below") if name in options
    }
    if isinstance(each := options.get("each"), type):
        options |= {"each": True, "number": each}
    limits = Range(**bounds) if bounds else limits
    metadata = {"knob": Knob(text, limits, **options)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


def knobs_of(schema: Any) -> Iterator[tuple[Field[Any], Knob]]:
    """Yield the fields of a schema that are knobs, each with what it allows."""
    for declared in fields(schema):
        if "knob" in declared.metadata:
            yield declared, declared.metadata["knob"]


def default_of(declared: Field[Any]) -> Any:
    """Return a field's default."""
    factory = declared.default_factory
    return declared.default if factory is MISSING else factory()


def check_knob(key: str, declared: Field[Any], node: Mapping[str, Any]) -> None:
    """Check a knob's value in a node of builtins.

    Raises:
        ConfigError: the value is out of range.
    """
    value, knob = node[declared.name], declared.metadata["knob"]
    if value is None and declared.default is None:
        return
    is_list = isinstance(value, list)
    values = value if is_list else [value]
    if any(isinstance(number, int) and abs(number) > _LARGEST for number in values):
        raise ConfigError(f"{key}: must be a whole number of at most 15 digits")
    if knob.choices:
        for name in values if knob.each else [value]:
            is_node = knob.each and isinstance(name, dict)
            if not is_node and str(name) not in knob.choices:
                raise ConfigError(
                    f"{_wrong(key, declared, value)}{nearest(str(name), knob.choices)}"
                )
        return
    if (is_list and knob.number and not knob.each) or not all(map(knob.allows, values)):
        raise ConfigError(_wrong(key, declared, value))
    if is_list and len(value) > _MOST_VALUES:
        raise ConfigError(f"{key}: {len(value):,} values found, at most {_MOST_VALUES:,} required")
    if is_list and knob.length is not None:
        _check_length(key, value, knob.length, node)


def _wrong(key: str, declared: Field[Any], value: Any) -> str:
    return f"{key}={shown(value)}: must be {requirement(declared)}"


def _check_length(key: str, value: Any, length: str | int, node: Mapping[str, Any]) -> None:
    needed = length if isinstance(length, int) else len(node[length])
    if len(value) != needed:
        other = "" if isinstance(length, int) else f", one for each of {length}"
        single = "" if isinstance(length, int) else "one number or "
        raise ConfigError(f"{key}={shown(value)}: must be {single}a list of {needed}{other}")


def requirement(declared: Field[Any]) -> str:
    """Return in words what a knob's value must be."""
    knob: Knob = declared.metadata["knob"]
    if knob.choices:
        more = ", or a list of them and of nodes" if knob.each else ""
        return "one of " + ", ".join(knob.choices) + more
    name = (
        knob.number.__name__ if knob.number else getattr(declared.type, "__name__", declared.type)
    )
    name = str(name).removesuffix(" | None")
    kind = _TYPE_WORDS.get(name, "")
    if knob.each and str(declared.type).startswith("list"):
        count = f" of {knob.length}" if isinstance(knob.length, int) else ""
        kind = kind.replace("a ", f"a list{count}, each a ")
    elif knob.each:
        kind += " or a list, each" if knob.range else " or a list"
    text = " ".join(filter(None, [kind, str(knob.range or "")]))
    if knob.share:
        text = f"{text.replace('a number', 'a whole number')}, or a share of at most 1.0"
    if text and knob.words:
        text += ", or " + " or ".join(map(shown, knob.words))
    return text or _OTHER_WORDS.get(name, "") + knob.text


def shown(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return str(value)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a question after the allowed name that is nearest, or nothing."""
    names = {other.lower(): other for other in allowed}
    near = difflib.get_close_matches(name.lower(), list(names), n=1)
    return f"; did you mean {names[near[0]]}?" if near else ""
