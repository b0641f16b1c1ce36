"""A YAML file of others is bounded, and asks for no objects."""

from pathlib import Path

import pytest
import yaml

from mnist_lab.errors import InputError, LabError, UntrustedError
from mnist_lab.files.yaml import check_yaml, read_yaml

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcd", "bcde", strict=True)
)


@pytest.mark.parametrize("text", ["", "a: 1", "a: {b: [1, x]}", "a: !!int 3"])
def test_a_plain_mapping_is_taken(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    check_yaml(path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[1]", InputError),
        ("null", InputError),
        ("a: 1\n---\nb: 2", InputError),
        ("a: [", InputError),
        ("a: " + "[" * 40 + "]" * 40, InputError),
        (f"a: {'x' * 6000}", InputError),
        ("a:\n" + "- 1\n" * 11_000, InputError),
        ("# \n" * 100_000, InputError),
        ("a: !!python/object/apply:os.system [true]", UntrustedError),
        ("a: !own 1", UntrustedError),
        ("a: &a 1\nb: *a", UntrustedError),
        (BOMB, UntrustedError),
    ],
)
def test_anything_else_is_refused(text: str, error: type[LabError], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(error, match=r"config\.yaml: "):
        check_yaml(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        check_yaml(tmp_path / name)


GOLDEN = Path(__file__).parents[1] / "golden/directories"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("**/config.yaml")), ids=str)
def test_section_by_section_a_runs_config_is_what_the_whole_is(path: Path) -> None:
    assert read_yaml(path, dict) == yaml.safe_load(path.read_bytes())


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb:\n  c: 2\n  d:\n    e: 3\n",
        "a:\n- 1\n- 2\nb:\n  c:\n  - x\n  - y\n  d: 1\n",
        "a: |\n  b: 1\n  c: 2\nd: 3\n",
        "a:\n  b: |\n    c: 1\n\n    d: 2\n  e: 3\n",
        'a: "x\n  b: c"\nd: 1\n',
        'a: "x\nb: c"\nd: 1\n',
        'a:\n  "b": 1\n  c: 2\n',
        "a:\n  b: 'x\n    c: y'\n  d: 1\n",
        "a:\n  b: x\n    y\n  c: z\n",
        "a: {b: 1,\n  c: 2}\nd: 1\n",
        "on: 1\nno: 2\nnull: 3\ntrue: 4\nYes: 5\n",
        "aa: 010\nbb: 1e3\ncc: 1.0e+3\ndd: -0\nee: 1.5e-08\nff: 1_000\ngg: 1.\n",
        "a: 1\na: 2\nb:\n  c: 1\n  c: 2\n",
        "# first\na: 1\n\n# then\nb: 2 # x\n",
        "a:\nb:\n  c:\n  d: ~\n",
        "a:\r\n  b: 1\r\nc: 2\r\n",
        "a:\n    b: 1\n    c: 2\n",
        "a: 1",
        "a: 2026-11-26\nb: 1:30\n",
    ],
)
def test_section_by_section_any_mapping_is_what_the_whole_is(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode())
    for _ in range(2):  # the second time from memory
        assert repr(read_yaml(path, dict)) == repr(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: 1\n...\nb: 2\n", InputError),
        ("a: 1\nb: [\nc: 2\n", InputError),
        ("a:\n  b: x\n  c\nd: 1\n", InputError),
        ("a: 1\nb:\n  c: !own 1\n", UntrustedError),
        ("a: &a 1\nb: *a\n", UntrustedError),
    ],
)
def test_section_by_section_the_same_is_refused(
    text: str, error: type[LabError], tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(error, match=r"config\.yaml"):
        read_yaml(path, dict)
