"""``mnist-lab runs``: lists runs and sweeps, or does with some what the first word says."""

import importlib

ACTIONS = {
    "show": ("show", "all about one run, with its curve"),
    "watch": ("watch", "a live table of what runs"),
    "diff": ("show", "what differs between two runs"),
    "tag": ("label", "give runs tags"),
    "note": ("label", "keep a text about a run"),
    "rm": ("remove", "move runs to the trash, and put them back with --undo"),
    "gc": ("remove", "say what takes place without need, and remove it with --yes"),
    "archive": ("archive", "write a run as one file, which evaluate and resume take"),
}
"""First words: the module beside this one that has a function of that name, and what it does."""


def main(arguments: list[str]) -> int:
    """List runs, or do with them what the first word says."""
    module, action, words = "listing", "main", arguments
    if arguments and arguments[0] in ACTIONS:
        action, *words = arguments
        module, _ = ACTIONS[action]
    function = getattr(importlib.import_module(f"mnist_lab.cli.runs.{module}"), action)
    return int(function(words) or 0)
