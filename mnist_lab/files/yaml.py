"""Bounds YAML files that came with a directory, before anything is built from them."""

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mnist_lab.errors import InputError, LabError, UntrustedError, first_line
from mnist_lab.files.regular import read_of_run

_MAX_BYTES = 200_000  # the config of a run has 2,000
_MAX_VALUES = 10_000
_MAX_DEPTH = 30
_MAX_LENGTH = 5_000  # of one value, in characters; a path has 4,096 at most
_PLAIN_TAGS = {"!"} | {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
}
_SECTION = re.compile(rb"^(?=[A-Za-z_]\w*:(?:[ \n]|$))", re.MULTILINE)
_MORE = (b"\n---", b"\n...", b"\n%", b"\n?")  # what is more than one plain mapping


def loader_of(content: bytes) -> Any:
    """Return the quickest loader that reads a file.

    libyaml refuses the escapes by which a path has bytes that are no text.
    """
    return yaml.SafeLoader if b"\\uD" in content else getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml(path: Path) -> None:
    """Check that a YAML file is small, holds one plain mapping, and asks for no objects.

    Raises:
        InputError: the file cannot be read, or holds too much.
        UntrustedError: it holds a tag, or an alias, by which a few bytes stand for gigabytes.
    """
    _check(path, read_of_run(path, _MAX_BYTES))


def read_yaml(path: Path, convert: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Read a YAML file as ``check_yaml`` bounds it, and convert its top-level sections.

    A thousand runs have most sections in common, and each is parsed and converted once: it is a
    mapping by itself, or else the whole file is read. A trial of a random search takes 0.3 ms,
    a quarter of what it takes with files read whole.

    Raises:
        InputError: the file cannot be read, or holds too much.
        UntrustedError: it holds a tag or an alias.
    """
    content = read_of_run(path, _MAX_BYTES)
    if _SECTION.match(content) and not any(mark in b"\n" + content for mark in _MORE):
        values: dict[str, Any] = {}
        try:
            for section in filter(None, _SECTION.split(content)):
                values |= _converted(section, convert)
            return values
        except (LabError, ValueError, yaml.YAMLError):
            pass  # the whole file has a better message
    _check(path, content)
    try:
        # OmegaConf's own loader takes ten times as long.
        return convert(yaml.load(content, Loader=loader_of(content)) or {})
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {problem_in(error)}") from error


@functools.lru_cache(maxsize=1024)
def _converted(
    section: bytes, convert: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    _check(Path(), section)
    return convert(yaml.load(section, Loader=loader_of(section)))


def _check(path: Path, content: bytes) -> None:
    try:
        _check_events(path, yaml.parse(content.decode(), Loader=loader_of(content)))
    except (UnicodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {problem_in(error)}") from error


def problem_in(error: Exception) -> str:
    """Return in one line what is wrong with a file, and where if its YAML is."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    return f"{problem or first_line(error)}{f' in line {mark.line + 1}' if mark else ''}"


def _check_events(path: Path, events: Iterable[Any]) -> None:
    count = depth = documents = 0
    for event in events:
        place = f"{path}: line {event.start_mark.line + 1}"
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.NodeEvent):
            _check_node(place, event, is_top=count == 0)
            count += 1
        if count > _MAX_VALUES or depth > _MAX_DEPTH or documents > 1:
            raise InputError(
                f"{place}: more than a config holds: {_MAX_VALUES:,} values, {_MAX_DEPTH} of them "
                "within each other, in one document"
            )


def _check_node(place: str, event: Any, is_top: bool) -> None:
    """Check one value, or the start of a list or a mapping."""
    if isinstance(event, yaml.AliasEvent):
        raise UntrustedError(f"{place}: *{event.anchor}: a run's config has no aliases")
    if event.tag is not None and event.tag not in _PLAIN_TAGS:
        raise UntrustedError(f"{place}: {event.tag}: tags are not taken, as they ask for objects")
    if isinstance(event, yaml.ScalarEvent) and len(event.value) > _MAX_LENGTH:
        raise InputError(f"{place}: a value of {len(event.value):,} characters is too long")
    if is_top and not isinstance(event, yaml.MappingStartEvent):
        raise InputError(f"{place}: a mapping is required")
