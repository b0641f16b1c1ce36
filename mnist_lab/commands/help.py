"""What ``mnist-lab train --help`` prints: groups and knobs in words, from conf/ and the schemas."""

from dataclasses import MISSING, fields
from typing import Any

from mnist_lab.config import choices, groups, requirement
from mnist_lab.schemas import SCHEMAS, Train

_HEAD = """\
usage: mnist-lab train [--multirun | -m] [GROUP=CHOICE ...] [KEY=VALUE ...]

  mnist-lab train model=cnn optimizer.lr=3e-3      one run
  mnist-lab train -m model=mlp,cnn seed=0,1,2      one for each combination
  mnist-lab train experiment=tf_mlp_65_65          a recipe

Hydra's own options are in mnist-lab train --hydra-help.
"""


def train_help() -> str:
    """Return the whole text."""
    lines = [_HEAD, "GROUPS"]
    for group in groups():
        lines.append(f"  {group}=")
        options = choices(group)
        width = max(map(len, options), default=0)
        lines += [f"    {name:{width}}  {text}" for name, text in options.items()]
    lines += ["", "KEYS", *_knobs("", [Train])]
    for group, schemas in SCHEMAS.items():
        lines += _knobs(f"{group}.", list(schemas.values()))
    return "\n".join(lines)


def _knobs(prefix: str, schemas: list[Any]) -> list[str]:
    """Return a line or two for each knob; one that several schemas share comes once."""
    lines, seen = [], set()
    for schema in schemas:
        for knob in fields(schema):
            if not knob.metadata or knob.name in seen:
                continue
            seen.add(knob.name)
            value = knob.default_factory() if knob.default is MISSING else knob.default  # type: ignore[misc]
            value = (
                "null"
                if value is None
                else str(value).lower()
                if value in (True, False) and isinstance(value, bool)
                else value
            )
            needed, text = requirement(knob), knob.metadata["text"]
            lines.append(f"  {prefix}{knob.name} = {value}")
            lines.append(f"      {text}" + (f" ({needed})" if needed != text else ""))
    return lines
