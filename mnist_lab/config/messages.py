"""Turns an error of Hydra's or OmegaConf's into one line: key, requirement, nearest right name."""

import contextlib
import difflib
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any

from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from mnist_lab.config.knob import nearest, requirement
from mnist_lab.config.options import choices, groups, groups_with
from mnist_lab.config.other_names import hint
from mnist_lab.config.schema import SCHEMAS, Train, key_prefix
from mnist_lab.config.syntax import explain_syntax
from mnist_lab.errors import ConfigError, LabError


@contextlib.contextmanager
def one_line_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf into a ConfigError of one line."""
    typed = [text for text in overrides if "${" in text]
    try:
        yield
    except LabError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        is_of_value = any(word in str(error) for word in ("nterpolation", "Invalid type assigned"))
        about = f"{typed[0]}: " if typed and is_of_value else ""
        raise ConfigError(f"{about}{explain(error)}") from error
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        params = [text for text in overrides if "hydra.sweeper.params" in text]
        about_hydra = typed or params or [text for text in overrides if "hydra." in text]
        if not about_hydra or not _is_hydras(error):
            raise
        reason = "is not what Hydra takes there"
        if about_hydra is params:  # null with hydra/sweeper=basic
            reason = "type what is varied instead, as in seed=1,2"
        raise ConfigError(f"{about_hydra[0]}: {reason}") from error
    except UserWarning as warning:
        place = re.sub(r".*, path=(.*) is not available\.", r"\1", str(warning))
        raise ConfigError(f"hydra.searchpath: {place}: no such folder") from None
    except RecursionError:
        raise ConfigError("the config is nested too deeply, or without an end") from None


def _is_hydras(error: BaseException) -> bool:
    """Return whether an error is of Hydra, which takes some values for granted, and no bug here."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [str(frame.f_globals["__name__"]).partition(".")[0] for frame in frames]
    inner = [name for name in packages if name in ("hydra", "omegaconf", "mnist_lab")]
    return inner[-1] != "mnist_lab"


def explain(error: BaseException) -> str:
    """Return one line for an error that composing or instantiating raised."""
    text = str(error)
    is_omegaconfs = isinstance(error, OmegaConfBaseException)
    cause = error if is_omegaconfs else error.__cause__ or error.__context__
    if isinstance(error, OverrideParseException):
        reason = re.search(r"while evaluating '.*': (.*)|(Unknown function .*)", error.message)
        return explain_syntax(error.override, (reason[1] or reason[2]) if reason else "")
    if isinstance(error, MissingConfigException):
        return _explain_choice(error)
    override = _override_in(text)
    key, _, value = override.lstrip("+~").partition("=")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        siblings = cause.parent_node if isinstance(cause.parent_node, DictConfig) else ()
        full_key = str(cause.full_key or key)
        is_below = full_key.startswith(f"{key}.")  # of a mapping that was given as a value
        names = [str(name) for name in siblings]
        return unknown_key(
            full_key if is_below or not key else key, names, "" if is_below else value
        )
    if "does not support deletion" in str(cause):  # what a schema has
        parent, name = getattr(cause, "parent_node", None), key.rpartition(".")[2]
        if isinstance(parent, DictConfig) and parent.get(name) is None:  # as Hydra 1.3 says it
            return f"{key}: has no value, so that there is nothing to leave out{_belongs(key)}"
        return f"{key}: cannot be left out; give it another value"
    if isinstance(cause, OmegaConfBaseException):
        return _explain_value(override, cause)
    if match := re.search(r"An item is already at '([^']+)'|Multiple values for (\S+)\. ", text):
        return f"+{match[1] or match[2]}: is there already; leave out the +"
    if "Could not " in text and override:
        group, _, name = key.partition(".")
        is_option = group in groups() and name in choices(group)
        if is_option or any(known.startswith(f"{key}.") for known in known_keys()):
            return f"{key}: is not chosen, so that there is nothing to leave out"
        if "does not exist" in text and key in known_keys():
            return f"{key}: has no value, so that there is nothing to leave out{_belongs(key)}"
        if "The value of" in text and "." in key and key in known_keys():
            return f"{key}: cannot be left out; give it another value"
        if "The value of" in text:  # ~seed=1 where it is 0
            return f"{key}: has another value; ~{key} leaves it out whatever it is"
        return unknown_key(key, (), value)
    if isinstance(error, InstantiationException) and cause is not None:
        return f"{_full_key(text)}{_one_line(str(cause) or type(cause).__name__)}"
    return _one_line(text)


def _owners(key: str) -> list[str]:
    """Return the choices of a known key's group that have it."""
    name = key.rpartition(".")[2]
    schemas = SCHEMAS.get(key.partition(".")[0], {})
    return [owner for owner in schemas if name in {one.name for one in fields(schemas[owner])}]


def _belongs(key: str) -> str:
    """Return in a clause which choices have a known key; nothing where all of its group have."""
    group, owners = key.partition(".")[0], _owners(key)
    if len(owners) == len(SCHEMAS.get(group, {})):
        return ""
    # own is chosen by a _target_
    is_choice = len(owners) == 1 and owners[0] != "own" and owners[0] in choices(group)
    chosen = f"; {group}={owners[0]} chooses it" if is_choice else ""
    return f"; it belongs to {', '.join(owners)}{chosen}"


def unknown_key(key: str, siblings: Iterable[str], value: str = "") -> str:
    """Return one line for a key that does not exist beside its siblings.

    Where its value is an option of a group, that group was meant.
    """
    parent, dot, name = key.rpartition(".")
    known = list(known_keys())
    if key in known:
        if not _owners(key):  # ~experiment=2 where it is another
            return f"{key}: has another value; ~{key} leaves it out whatever it is"
        group = key.partition(".")[0]
        belongs = _belongs(key)
        if group == "trainer" and not belongs:  # which is a file of the user's own
            belongs = "; a file of one's own has it below `defaults: [auto]`"
        return f"{key}: no key of the {group} that is chosen{belongs}"
    if meant := hint(key):
        return f"{key}: no such key; {meant}"
    by_name: dict[str, str] = {}
    for other in known:
        by_name.setdefault(other.rpartition(".")[2], other)
    for wrong, right, cutoff in (
        (key, {group: group for group in groups_with(value)}, 0.4),
        (name, {other: f"{parent}{dot}{other}" for other in siblings if other != name}, 0.6),
        (key, {other: other for other in known if "." in other or not dot}, 0.8),
        (name, by_name, 0.75),
    ):
        ratios = {other: difflib.SequenceMatcher(None, other, wrong).ratio() for other in right}
        # Of those that are as near, the first that is declared: max_epochs, not min_epochs.
        near = max(ratios, key=ratios.__getitem__, default="")
        if near and ratios[near] >= cutoff:
            return f"{key}: no such key; did you mean {right[near]}?"
    return f"{key}: no such key; mnist-lab train --help lists them"


def known_keys() -> dict[str, Field[Any] | None]:
    """Return every key of every schema, and every group, with its knob if it has one."""
    keys: dict[str, Field[Any] | None] = dict.fromkeys(groups())
    keys |= {knob.name: knob for knob in fields(Train) if knob.metadata}
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            prefix = key_prefix(group, name)
            keys |= {f"{prefix}{knob.name}": knob for knob in fields(schema) if knob.metadata}
    return keys


def _override_in(text: str) -> str:
    """Return the override, or its key, that a message of Hydra's is about."""
    for pattern in (
        r"Error merging override (.+)",
        r"To append to your (?:config|default list) use \+(.+)",
        r"Could not \D*?'([^']+)'",
    ):
        if match := re.search(pattern, text):
            return match[1]
    return ""


def _explain_choice(error: MissingConfigException) -> str:
    name = (error.missing_cfg_file or "").removesuffix(".yaml")
    group, _, option = name.rpartition("/")
    if not group:
        return _one_line(str(error).partition("\nSearch path")[0])
    found = [option for option in error.options or [] if not option.endswith("_schema")]
    allowed = sorted({*choices(group), *found} if group in groups() else found)
    meant = hint(f"{group}={option}")
    near = f"; {meant}" if meant else nearest(option, allowed)
    return f"{group}={option}: must be one of {', '.join(allowed)}{near}"


def _explain_value(override: str, cause: OmegaConfBaseException) -> str:
    key = str(cause.full_key or "") or override.lstrip("+~").partition("=")[0]
    knobs = fields(cause.object_type) if is_dataclass(cause.object_type) else ()
    last = re.sub(r"\[\d+\]$", "", key).rpartition(".")[2]
    knob = next((field for field in knobs if field.name == last and field.metadata), None)
    knob = knob or known_keys().get(re.sub(r"\[\d+\]$", "", key))
    about = override if "=" in override else key
    is_value = isinstance(cause, ValidationError) and not override.startswith("~")
    if knob is not None and is_value:
        return f"{about}: must be {requirement(knob)}"
    reason = _one_line(str(cause.msg or cause).partition("\n")[0])
    if (named := re.search(r"nterpolation key '([\w.]+)'", reason)) and (meant := hint(named[1])):
        reason += f"; {meant}"
    return f"{about}: {reason}" if about else reason


def _full_key(text: str) -> str:
    match = re.search(r"full_key: (\S+)", text)
    if match is None:
        return ""
    # Hydra writes the place in a list without a dot.
    return re.sub(r"\baugment(\d+)$", r"augment.\1", match[1]) + ": "


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
