"""Name, tags and note that a user gives to a run, kept in its manifest."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_lab.errors import ConfigError, printable
from mnist_lab.files.atomic import remove_partials, write_errors
from mnist_lab.files.regular import check_links
from mnist_lab.files.tensorboard import add_text
from mnist_lab.runs.directory import MANIFEST, locked, read_json
from mnist_lab.runs.manifest import update_manifest

LABELS = ("name", "tags", "note")  # keys of a config
_MAX_TAGS = 50  # of a run
_MAX_TAG = 50  # characters
_MAX_NOTE = 2_000
_TAG = re.compile(r"\w[\w.+-]*")


@dataclass(frozen=True)
class Labels:
    """What a user calls a run.

    Args:
        tags: words to find it by.
        note: a text about it.
    """

    tags: tuple[str, ...] = ()
    note: str = ""


def labels_of(manifest: Mapping[str, Any]) -> Labels:
    """Return the labels in a manifest, which may be a stranger's; what is too long is cut off."""
    tags, note = manifest.get("tags"), manifest.get("note")
    words = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    return Labels(
        tuple(printable(tag[:_MAX_TAG]) for tag in words[:_MAX_TAGS]),
        printable(note[:_MAX_NOTE]) if isinstance(note, str) else "",
    )


def check_labels(name: str | None, tags: Iterable[str] | None, note: str | None) -> None:
    """Check what a run is to be called.

    Raises:
        ConfigError: the name or a tag is no word, there are too many, or the note is too long.
    """
    if name is not None and (not _TAG.fullmatch(name) or len(name) > _MAX_TAG):
        raise ConfigError(
            f"name={name[:_MAX_TAG]}: must be letters, digits and _ . + -, {_MAX_TAG} at most"
        )
    words = list(tags or ())
    check_tags(words)
    if len(words) > _MAX_TAGS:
        raise ConfigError(f"tags: {_MAX_TAGS} at most; these are {len(words)}")
    _check_note(note or "")


def labels_given(tags: Iterable[str] | None, note: str | None) -> dict[str, Any]:
    """Return the entries of a new run's manifest for what the user called it at its launch."""
    entries: dict[str, Any] = {"tags": list(dict.fromkeys(tags or ())), "note": note}
    return {name: value for name, value in entries.items() if value}


def check_tags(tags: Iterable[str]) -> None:
    """Check that each tag is a word.

    Raises:
        ConfigError: one is not.
    """
    for tag in tags:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag) or len(tag) > _MAX_TAG:
            raise ConfigError(
                f"tag {tag}: must be letters, digits and _ . + -, {_MAX_TAG} at most; a run is "
                "named by its directory"
            )


def tag_run(run_dir: Path, add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
    """Give tags to a run, or take them from it.

    Raises:
        BusyError: the run is training.
        ConfigError: it has too many then.
        StorageError: the manifest cannot be written.
        UntrustedError: a link leads out of the directory.
    """
    check_links(run_dir)
    with locked(run_dir):
        before = labels_of(read_json(run_dir / MANIFEST)).tags
        tags = [tag for tag in dict.fromkeys([*before, *add]) if tag not in set(drop)]
        if len(tags) > _MAX_TAGS:
            raise ConfigError(f"{run_dir}: {_MAX_TAGS} tags at most; it has {len(before)}")
        _write(run_dir, tags=tags)


def note_run(run_dir: Path, note: str) -> None:
    """Keep a text about a run, in place of the one that it has.

    Raises:
        BusyError: the run is training.
        ConfigError: the text is too long.
        StorageError: the manifest cannot be written.
        UntrustedError: a link leads out of the directory.
    """
    _check_note(note)
    check_links(run_dir)
    with locked(run_dir):
        read_json(run_dir / MANIFEST)  # there has to be one
        _write(run_dir, note=note)


def _check_note(note: str) -> None:
    if len(note) > _MAX_NOTE:
        raise ConfigError(f"a note has {_MAX_NOTE:,} characters at most, this one {len(note):,}")


def _write(run_dir: Path, **labels: Any) -> None:
    """Write labels into the manifest, and then, where it has event files, for TensorBoard.

    Its HParams tab keeps what a run began with: of a run's event files it reads those of the first.
    """
    remove_partials(run_dir, run_dir)
    update_manifest(run_dir, **labels)
    now = labels_of(read_json(run_dir / MANIFEST))
    text = f"tags: {' '.join(now.tags)}\nnote: {now.note}"
    with write_errors(run_dir):
        add_text(run_dir, "labels", text)
