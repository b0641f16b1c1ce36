"""Names of metrics and settings as they are typed: which one is meant, and which there are."""

import difflib
from collections.abc import Iterable

_LISTED = 10
_SPLITS = ("val", "test", "train")


def nearest(typed: str, names: Iterable[str]) -> str | None:
    """Return the name that is probably meant, of which the last part may have been typed."""
    names = _in_order(names)
    ends: dict[str, str] = {}
    for name in names:
        ends.setdefault(name.replace(".", "/").rpartition("/")[2], name)
    near = difflib.get_close_matches(typed, [*ends, *names], 1)
    return ends.get(near[0], near[0]) if near else None


def listed(names: Iterable[str]) -> str:
    """Return the first names, those of validation before others and none of a single class."""
    names = [name for name in _in_order(names) if "class_" not in name]
    more = len(names[_LISTED:])
    return ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more else "")


def _in_order(names: Iterable[str]) -> list[str]:
    def key(name: str) -> tuple[int, str]:
        split = name.partition("/")[0]
        return _SPLITS.index(split) if split in _SPLITS else len(_SPLITS), name

    return sorted(names, key=key)
