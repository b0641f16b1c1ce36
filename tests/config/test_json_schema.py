"""The JSON Schema: what ships is valid, and what a run would refuse is refused in an editor."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from omegaconf import OmegaConf

from mnist_lab.config.json_schema import json_schema
from mnist_lab.config.options import CONF

SCHEMA = json_schema()
FILES = sorted(CONF.rglob("*.yaml"))
WRONG = yaml.safe_load((Path(__file__).parent / "wrong_files.yaml").read_text(encoding="utf-8"))


def faults(name: str, content: Any) -> list[str]:
    part = {"definitions": SCHEMA["definitions"], "$ref": f"#/definitions/{name}"}
    return [error.message for error in Draft7Validator(part).iter_errors(content)]


def test_is_a_schema_and_committed_as_it_is() -> None:
    Draft7Validator.check_schema(SCHEMA)
    committed = json.loads((CONF / "schema.json").read_text(encoding="utf-8"))
    assert committed == SCHEMA, "write it anew: mnist-lab schema > conf/schema.json"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_file_names_its_part_and_is_valid(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    place, name = re.fullmatch(
        r"# yaml-language-server: \$schema=(\S+)#/definitions/(\w+)", lines[0]
    ).groups()  # type: ignore[union-attr]
    assert (path.parent / place).samefile(CONF / "schema.json")
    assert faults(name, OmegaConf.to_container(OmegaConf.load(path))) == []


@pytest.mark.parametrize("row", WRONG, ids=lambda row: f"{row['part']}-{row['file']}"[:60])
def test_a_wrong_file_is_refused(row: dict[str, Any]) -> None:
    assert faults(row["part"], row["file"])


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("MLP", {"defaults": ["mlp_schema"], "hidden_dims": [8], "dropout": [0.5]}),
        ("CNN", {"kernel_size": [3, 5], "channels": "${x}", "num_classes": None}),
        ("OwnOptimizer", {"_target_": "mine.Lion", "beta": 0.9}),
        ("Data", {"seed": "${seed}", "root": None, "augment": "affine"}),
        (
            "Trainer",
            {"precision": 16, "limit_val_batches": 0.5, "val_check_interval": "00:00:01:00"},
        ),
        ("callbacks", {"mine": {"_target_": "mine.Callback", "every": 3}}),
        ("Train", {"defaults": [{"override /model": "mine"}], "model": {"anything": 1}}),
        ("Train", {"defaults": ["base", "_self_"], "optimizer": {"alpha": 0.9}}),
        ("Train", {"threads": "auto", "hydra": {"run": {"dir": "x"}, "launcher": {"workers": 2}}}),
    ],
    ids=str,
)
def test_what_is_allowed_is_taken(part: str, content: dict[str, Any]) -> None:
    assert faults(part, content) == []
