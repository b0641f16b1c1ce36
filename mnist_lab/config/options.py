"""Location of conf/, and the choices of each group in it."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A wheel carries conf/ inside the package; a checkout has it beside.
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
_RECIPES = ("experiment", "sweep")  # the groups that change others
_FOR_PROGRAMS = ("# @package", "# yaml-language-server")  # comments that Hydra and editors read


def groups(folder: Path = CONF) -> list[str]:
    """Return the names of the config groups in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def choices(group: str, folder: Path = CONF) -> dict[str, str]:
    """Return a group's options in a folder, each with its file's first comment for readers."""
    options = {}
    for path in sorted((folder / group).glob("*.yaml")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        first = next((line for line in lines if not line.startswith(_FOR_PROGRAMS)), "")
        options[path.stem] = first.removeprefix("#").strip() if first.startswith("#") else ""
    return options


def groups_with(option: str) -> list[str]:
    """Return the groups that have an option, those of a run's parts before those of recipes."""
    owners = [group for group in groups() if option in choices(group)]
    return sorted(owners, key=lambda group: group in _RECIPES)
