"""A YAML file of others is bounded, and asks for no objects."""

from pathlib import Path

import pytest

from mnist_lab.errors import InputError, LabError, UntrustedError
from mnist_lab.files.yaml import check_yaml

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
