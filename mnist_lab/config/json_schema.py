"""JSON Schema of the files in conf/ and of one's own, by which editors complete and check them.

Draft 7, which every editor reads. A file names its part in its first comment, as
``# yaml-language-server: $schema=../schema.json#/definitions/MLP``.
"""

import math
from collections.abc import Iterable
from dataclasses import Field, fields
from types import NoneType, UnionType
from typing import Any, get_args

from omegaconf import OmegaConf

from mnist_lab.config.knob import Knob, default_of, knobs_of
from mnist_lab.config.metrics import TAKEN
from mnist_lab.config.options import CONF, choices
from mnist_lab.config.schema import SCHEMAS, Train
from mnist_lab.config.sweep_schema import LAUNCHERS, LearningRates, Settings
from mnist_lab.models.arguments import Range

_DEFAULTS = {"type": "array", "items": {"type": ["string", "object"]}}
_INTERPOLATION = {"$ref": "#/definitions/interpolation"}  # what it becomes is known to no editor
_NAMED = ("callbacks", "logger", "metrics")  # groups whose keys are names of nodes


def json_schema() -> dict[str, Any]:
    """Return the schema; its ``definitions`` are what a file can be."""
    schemas = [schema for group in SCHEMAS.values() for schema in group.values()]
    nodes = {schema.__name__: _node(schema) for schema in [*schemas, Settings, LearningRates]}
    groups = {group: _named_nodes(group) for group in _NAMED}
    interpolation = {"type": "string", "pattern": r"\$\{"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mnist_lab",
        "definitions": {**nodes, **groups, "Train": _train(), "interpolation": interpolation},
    }


def _node(schema: type[Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": schema.__doc__,
        "properties": {"defaults": _DEFAULTS, **_properties(schema)},
        "additionalProperties": getattr(schema, "takes_any", False),
    }


def _properties(schema: Any) -> dict[str, Any]:
    knobs = {declared.name: _value(declared, knob) for declared, knob in knobs_of(schema)}
    texts = ("_target_", "name")
    others: dict[str, Any] = {
        declared.name: {"type": "string"} if declared.name in texts else {}
        for declared in fields(schema)
    }
    return others | knobs


def _value(declared: Field[Any], knob: Knob) -> dict[str, Any]:
    """Return what a knob's value may be."""
    kinds = get_args(declared.type) if isinstance(declared.type, UnionType) else (declared.type,)
    allowed = _allowed(str(getattr(kinds[0], "__name__", kinds[0])), str(kinds[0]), knob)
    if allowed and (NoneType in kinds or declared.default is None):
        allowed.append({"type": "null"})
    rule = {"anyOf": [*allowed, _INTERPOLATION]} if allowed else {}
    default = default_of(declared)
    return {"description": knob.text, **({} if default == "???" else {"default": default}), **rule}


def _allowed(name: str, kind: str, knob: Knob) -> list[dict[str, Any]]:
    """Return the kinds of value besides null; none where anything is allowed."""
    if knob.choices:
        numbers = [int(text) for text in knob.choices if text.isdigit()]
        names: dict[str, Any] = {"enum": [*knob.choices, *numbers]}
        either: list[dict[str, Any]] = [names, {"type": "object"}]
        return [*either, {"type": "array", "items": {"anyOf": either}}] if knob.each else [names]
    number = knob.number.__name__ if knob.number else name
    words = [{"enum": [*knob.words]}] if knob.words else []
    if number in ("int", "float"):
        values = [*_numbers(number, knob), *words]
        several: dict[str, Any] = {"type": "array", "items": {"anyOf": values}}
        if isinstance(knob.length, int):
            several |= {"minItems": knob.length, "maxItems": knob.length}
        if kind.startswith("list"):
            return [several]
        return [*values, several] if knob.each else values
    if knob.range:
        return [*_numbers("float", knob), {"type": ["string", "object"]}]
    types: dict[str, Any] = {"bool": "boolean", "str": "string", "list": "array", "dict": "object"}
    typed = [{"type": types[name]}] if name in types else []
    return words or typed


def _numbers(number: str, knob: Knob) -> list[dict[str, Any]]:
    limits = knob.range or Range()
    bounds: dict[str, Any] = {
        "minimum": limits.low,
        "maximum": limits.high,
        "exclusiveMinimum": limits.above,
        "exclusiveMaximum": limits.below,
    }
    rule = {name: limit for name, limit in bounds.items() if math.isfinite(limit)}
    rule |= {"not": {"multipleOf": 2}} if limits.odd else {}
    whole = {"type": "integer", **rule}
    if knob.share:
        return [whole, {"type": "number", **rule, "maximum": 1}]
    return [whole] if number == "int" else [{"type": "number", **rule}]


def _named_nodes(group: str) -> dict[str, Any]:
    """Return a group whose keys are names, each of a node that has a class."""
    known = {name: _reference(schema) for name, schema in SCHEMAS.get(group, {}).items()}
    taken = {"propertyNames": {"not": {"pattern": f"^({TAKEN.pattern})$|/"}}}
    return {
        "type": "object",
        "properties": {"defaults": _DEFAULTS, **known},
        "additionalProperties": {"type": "object"},
        **(taken if group == "metrics" else {}),
    }


def _reference(schema: type[Any]) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{schema.__name__}"}


def _train() -> dict[str, Any]:
    """Return a run's config, or a part of it: conf/train.yaml, a recipe, a search space."""
    built = {group: schemas for group, schemas in SCHEMAS.items() if group not in _NAMED}
    named = {group: {"$ref": f"#/definitions/{group}"} for group in _NAMED}
    hydra: dict[str, Any] = {
        "sweeper": {"anyOf": [_reference(Settings), _reference(LearningRates)]},
        "launcher": _union(LAUNCHERS.values()),
        "mode": {"enum": ["RUN", "MULTIRUN"]},
    }
    return {
        "type": "object",
        "description": Train.__doc__,
        "properties": {
            "defaults": _DEFAULTS,
            **_properties(Train),
            **{group: _union(schemas.values()) for group, schemas in built.items()},
            **named,
            "hydra": {"type": "object", "properties": hydra},
        },
        "additionalProperties": False,
        "allOf": [rule for group in built for rule in _rules(group)],
    }


def _union(schemas: Iterable[type[Any]]) -> dict[str, Any]:
    """Return a node of one of several schemas: a key has a value that one of them allows."""
    values: dict[str, list[Any]] = {}
    for schema in schemas:
        for name, value in _properties(schema).items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    properties = {
        name: allowed[0] if len(allowed) == 1 else {"anyOf": allowed}
        for name, allowed in values.items()
    }
    return {"type": "object", "properties": properties}


def _rules(group: str) -> list[dict[str, Any]]:
    """Return which keys a group has: those of the choice that the file's defaults list makes."""
    chosen = {"type": "object", "required": [f"override /{group}"]}
    inherited = {"type": "string", "not": {"const": "_self_"}}
    keys = sorted({name for schema in SCHEMAS[group].values() for name in _properties(schema)})
    closed: dict[str, Any] = {
        "if": {"not": _defaults_have({"anyOf": [chosen, inherited]})},
        "then": {"properties": {group: {"propertyNames": {"enum": keys}}}},
    }
    return [
        closed,
        *(
            {
                "if": _defaults_have(
                    {**chosen, "properties": {f"override /{group}": {"const": choice}}}
                ),
                "then": {"properties": {group: _reference(SCHEMAS[group][schema])}},
            }
            for choice in choices(group)
            if (schema := _schema_of(group, choice))
        ),
    ]


def _defaults_have(entry: dict[str, Any]) -> dict[str, Any]:
    return {"required": ["defaults"], "properties": {"defaults": {"contains": entry}}}


def _schema_of(group: str, choice: str) -> str:
    """Return the name of the schema that a choice begins from, or nothing."""
    content: Any = OmegaConf.load(CONF / group / f"{choice}.yaml")
    for base in content.get("defaults", []):
        name = str(base).removesuffix("_schema")
        return name if name != base else _schema_of(group, name)
    return ""
