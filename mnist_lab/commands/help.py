"""The text of ``mnist-lab train --help``, made from conf/ and the schemas."""

import textwrap
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from mnist_lab.groups import choices, groups
from mnist_lab.knobs import default_of, requirement, shown
from mnist_lab.schemas import SCHEMAS, Train, key_prefix

_WIDTH = 100
_HEAD = """\
usage: mnist-lab train [-m] [GROUP=CHOICE ...] [KEY=VALUE ...]

  mnist-lab train model=cnn optimizer.lr=3e-3      one run
  mnist-lab train -m model=mlp,cnn seed=0,1,2      a run for each combination
  mnist-lab train --cfg job --resolve model=cnn    the config, without a run
  mnist-lab train --config-dir mine model=own      a folder of your own choices
  eval "$(mnist-lab train -sc install=bash)"       completion with the tab key

Hydra's own options are in mnist-lab train --hydra-help."""


def train_help() -> str:
    """Return the whole text."""
    lines = [_HEAD]
    for group in groups():
        lines += ["", f"{group}="]
        for name, text in choices(group).items():
            lines += _wrapped(f"  {name:16}  ", text)
    lines += ["", "KEYS, with their defaults", *_knob_lines("", [Train])]
    for prefix, schemas in _by_prefix().items():
        lines += ["", *_knob_lines(prefix, schemas)]
    return "\n".join(lines)


def _by_prefix() -> dict[str, list[Any]]:
    """Return the schemas whose knobs have the same place on the command line."""
    places: dict[str, list[Any]] = {}
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            places.setdefault(key_prefix(group, name), []).append(schema)
    return places


def _knob_lines(prefix: str, schemas: list[Any]) -> Iterator[str]:
    """Yield the lines of each knob; one that several schemas share comes once."""
    seen: set[str] = set()
    for schema in schemas:
        for knob in fields(schema):
            if not knob.metadata or knob.name in seen:
                continue
            seen.add(knob.name)
            needed, text = requirement(knob), knob.metadata["text"]
            value = shown(default_of(knob)).replace("'", "")
            yield f"  {prefix}{knob.name}={value}"
            yield from _wrapped("      ", text if needed == text else f"{text} ({needed})")


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
    ) or [start.rstrip()]
