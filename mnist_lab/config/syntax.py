"""Explains an override that cannot be read: what to type instead, ready to paste into a shell."""

import os
import re
import shlex
import unicodedata
from collections.abc import Iterator

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from mnist_lab.config.options import groups_with
from mnist_lab.config.schema import Train

_QUOTES = "\"'\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u201a"  # typographic ones too
_BRACKETS = ("[]", "{}", "()")
_EXAMPLE = """must be KEY=VALUE, and quoted where it has special characters: 'KEY="a=b"'"""


def explain_syntax(override: str, reason: str = "") -> str:
    """Return one line for an override that Hydra's grammar does not admit.

    Args:
        override: as it was typed.
        reason: what Hydra says of a function in it, such as ``range(a,b)``.
    """
    if "=" not in override and not override.startswith("~"):
        if _reads(text := override.strip().replace(":", "=", 1)) and "=" in text:
            return f"{override}: must be KEY=VALUE; type {shlex.quote(text)}"
        owners = groups_with(override)
        example = f"; did you mean {owners[0]}={override}?" if owners else ""
        return f"{override}: must be KEY=VALUE{example}"
    if words := _several(override):
        return f"{override}: is one word; type {shlex.join(words)}"
    key, _, value = _bare(override).partition("=")
    if reason:
        return f"{override}: cannot be read, {reason}"
    is_uneven = any(override.count(pair[0]) != override.count(pair[1]) for pair in _BRACKETS)
    wrong = f"{override}: cannot be read{', its brackets do not match' if is_uneven else ''}"
    for text in _candidates(key, value):
        if text.isprintable() and text != override and _reads(text):
            return f"{wrong}; type {shlex.quote(text)}"
    if item := re.fullmatch(r"([\w.]+)\[\d*\]", key):
        return f"{wrong}; a list is given as a whole: '{item[1]}=[...]'"
    return f"{wrong}; {_EXAMPLE}"


def _bare(override: str) -> str:
    """Return an override without what surrounds it: white space, and quotes around the whole."""
    text = override.strip()
    if text[0] in _QUOTES and text[-1] in _QUOTES:
        text = text[1:-1]
    return text


def _candidates(key: str, value: str) -> Iterator[str]:
    """Yield what may have been meant, the likeliest first."""
    key = re.sub(r"\.{2,}", ".", key.strip(" .:\"'"))
    value = value.strip().removeprefix("=")
    if value[:1] in tuple(_QUOTES):
        value = value.strip(_QUOTES)
    number = unicodedata.normalize("NFKC", value).translate({0x2212: "-", 0x2013: "-"})
    if re.fullmatch(r"[-+.\deE]+", number):
        yield f"{key}={number}"
    if value.startswith("~"):
        value = os.path.expanduser(value)
    if value[:1] in ("[", "(", "{") or value.endswith("]"):
        items = re.sub(r"[][(){}]", "", value).replace(";", ",")
        if ("," in items or value[:1] == "[") and ":" not in items:
            yield f"{key}=[{items}]"
    if "${" not in value:
        yield f"{key}={value}"
        yield f"{key}={QuotedString(value, Quote.double).with_quotes()}"


def _several(override: str) -> list[str]:
    """Return the overrides of one word in which all have been quoted together, if it is that."""
    words = override.split()
    are_known = all(re.split(r"[=.]", word)[0] in Train.__annotations__ for word in words[1:])
    return words if len(words) > 1 and are_known and all(map(_reads, words)) else []


def _reads(text: str) -> bool:
    try:
        OverridesParser.create().parse_override(text)
    except (HydraException, RecursionError, ValueError):
        return False
    return True
