"""``mnist-lab train --help`` names everything that can be chosen."""

from dataclasses import fields

from mnist_lab.commands.help import train_help
from mnist_lab.explain import known_keys
from mnist_lab.groups import choices, groups
from mnist_lab.schemas import Train

TEXT = train_help()
LINES = TEXT.splitlines()


def test_fits_100_columns() -> None:
    assert max(map(len, LINES)) <= 100


def test_names_every_choice() -> None:
    for group in groups():
        start = LINES.index(f"{group}=")
        end = LINES.index("", start)
        named = [line.split()[0] for line in LINES[start + 1 : end] if line[2] != " "]
        assert named == list(choices(group))


def test_names_every_key_with_its_default() -> None:
    shown = {line.strip().partition("=")[0] for line in LINES if line.startswith("  ")}
    assert {key for key, knob in known_keys().items() if knob is not None} <= shown
    assert "  optimizer.lr=0.001" in LINES
    assert "  model.hidden_dims=[512, 256]" in LINES
    assert "  data.root=null" in LINES
    assert {knob.name for knob in fields(Train) if knob.metadata} <= shown
