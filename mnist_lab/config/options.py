"""Location of conf/, and the choices of each group in it."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A wheel carries conf/ inside the package; a checkout has it beside.
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())


def groups() -> list[str]:
    """Return the names of the config groups."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir())


def choices(group: str) -> dict[str, str]:
    """Return a group's options, each with the first comment line of its file."""
    options = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        first = next(line for line in lines if not line.startswith("# @package"))
        options[path.stem] = first.removeprefix("#").strip()
    return options
