"""Text of ``mnist-lab train --help``, made from conf/ and the schemas; the site has the same."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf

from mnist_lab.config.knob import default_of, knobs_of, requirement, shown
from mnist_lab.config.options import CONF, choices, groups
from mnist_lab.config.schema import SCHEMAS, Train, key_prefix
from mnist_lab.config.sweep_schema import LAUNCHERS, LearningRates, Settings

_WIDTH = 100
_HEAD = """\
usage: mnist-lab train [-m] [GROUP=CHOICE ...] [KEY=VALUE ...]

  mnist-lab train model=cnn optimizer.lr=3e-3      one run
  mnist-lab train -m model=mlp,cnn seed=0,1,2      a run for each combination
  mnist-lab train cv=5                             a run for each of 5 folds, with their mean
  mnist-lab train -m sweep=mlp_search              a search
  mnist-lab train sweep=lr_range                   a plot of loss against learning rate
  mnist-lab train --cfg job --resolve model=cnn    the config, without a run
  mnist-lab train --config-dir mine model=own      a folder of your own choices
  eval "$(mnist-lab train -sc install=bash)"       completion with the tab key

Hydra's own options are in mnist-lab train --hydra-help."""


class Knob(NamedTuple):
    """A key as a reader sees it.

    Args:
        key: as it is typed.
        default: its value, and in parentheses the choices that have another.
        text: meaning, type and range.
    """

    key: str
    default: str
    text: str


def train_help(config_dirs: Sequence[str] = ()) -> str:
    """Return the whole text, with the choices in the user's own conf folders."""
    lines = [_HEAD]
    folders = [*map(Path, config_dirs), CONF]
    for group in sorted({group for folder in folders for group in groups(folder)}):
        lines += ["", f"{group}="]
        options: dict[str, str] = {}
        for folder in reversed(folders):  # the first that has a choice gives it
            options |= choices(group, folder)
        for name, text in sorted(options.items()):
            lines += _wrapped(f"  {name:16}  ", text)
    lines += ["", "KEYS, with their defaults", *_knob_lines(knobs("", [Train]))]
    for prefix, schemas in _by_prefix().items():
        shipped = _shipped(prefix.partition(".")[0])
        lines += ["", *_knob_lines(knobs(prefix, schemas, shipped))]
    lines += ["", "SWEEPS, with -m", *_knob_lines(knobs("hydra.sweeper.", [Settings]))]
    tested = _knob_lines(knobs("hydra.sweeper.", [LearningRates]))
    lines += ["", "with sweep=lr_range", *tested]
    lines += ["", "hydra/launcher=", *_wrapped(f"  {'basic':16}  ", "One trial after the other.")]
    for name, schema in LAUNCHERS.items():
        lines += _wrapped(f"  {name:16}  ", str(schema.__doc__))
    for name, schema in LAUNCHERS.items():
        launchers = _knob_lines(knobs("hydra.launcher.", [schema]))
        lines += ["", f"with hydra/launcher={name}", *launchers]
    return "\n".join(lines)


def _shipped(group: str) -> dict[str, dict[str, Any]]:
    """Return what each choice of a group gives each key, the group's default choice first."""
    chosen = _read(CONF / "train.yaml")["defaults"]
    first = next(entry[group] for entry in chosen if isinstance(entry, dict) and group in entry)
    values: dict[str, dict[str, Any]] = {}
    for choice in sorted(choices(group), key=lambda name: name != first):
        for key, value in choice_values(group, choice).items():
            values.setdefault(key, {})[choice] = value
    return values


def choice_values(group: str, choice: str) -> dict[str, Any]:
    """Return the knobs of a choice with the values that composing gives them.

    It reads the YAML alone, since to compose every choice takes seconds.
    """
    delta = _read(CONF / group / f"{choice}.yaml")
    values: dict[str, Any] = {}
    for base in delta.pop("defaults", []):
        if base == "_self_" or not isinstance(base, str):
            continue
        name = base.partition("@")[0]
        if not name.endswith("_schema"):
            values |= choice_values(group, name)
            continue
        name = name.removesuffix("_schema")
        values |= {
            f"{key_prefix(group, name)}{knob.name}": default_of(knob)
            for knob, _ in knobs_of(SCHEMAS[group][name])
        }
    for name, value in delta.items():
        nested = value.items() if group == "callbacks" else [(None, value)]
        for key, part in nested:
            values[f"{group}.{name}.{key}" if key else f"{group}.{name}"] = part
    return values


def _read(path: Path) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))


def _by_prefix() -> dict[str, list[Any]]:
    """Return the schemas whose knobs have the same place on the command line."""
    places: dict[str, list[Any]] = {}
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            places.setdefault(key_prefix(group, name), []).append(schema)
    return places


def group_knobs(group: str) -> Iterator[Knob]:
    """Yield the knobs of a group, each with the values that its choices give it."""
    for prefix, schemas in _by_prefix().items():
        if prefix.partition(".")[0] == group:
            yield from knobs(prefix, schemas, _shipped(group))


def knobs(
    prefix: str, schemas: list[Any], values: dict[str, dict[str, Any]] | None = None
) -> Iterator[Knob]:
    """Yield the knobs of schemas; one that several share comes once."""
    seen: set[str] = set()
    for schema in schemas:
        for declared, knob in knobs_of(schema):
            if declared.name in seen:
                continue
            seen.add(declared.name)
            needed, text = requirement(declared), knob.text
            key = f"{prefix}{declared.name}"
            default = _default(values[key] if values else {"": default_of(declared)})
            yield Knob(key, default, text if needed.endswith(text) else f"{text} ({needed})")


def _knob_lines(found: Iterator[Knob]) -> Iterator[str]:
    for knob in found:
        yield from _wrapped("  ", f"{knob.key}={knob.default}")
        yield from _wrapped("      ", knob.text)


def _default(values: dict[str, Any]) -> str:
    """Return the first choice's value, and in parentheses the choices that have another."""
    by_value: dict[str, list[str]] = {}
    for choice, value in values.items():
        by_value.setdefault(shown(value).replace("'", ""), []).append(choice)
    default, *others = by_value
    rest = "; ".join(f"{', '.join(by_value[value])}: {value}" for value in others)
    return f"{default} ({rest})" if rest else default


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
    ) or [start.rstrip()]
