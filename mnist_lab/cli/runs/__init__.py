"""``mnist-lab runs``: lists runs and sweeps, or does with some what the first word says."""

import importlib

ACTIONS = {
    "show": "all about one run, with its curve",
    "watch": "a live table of what runs",
    "diff": "what differs between two runs",
    "tag": "give runs tags",
    "note": "keep a text about a run",
    "rm": "move runs to the trash, and put them back with --undo",
    "gc": "say what takes place without need, and remove it with --yes",
    "archive": "write a run as one file, which evaluate and resume take",
}
"""First words, each with a function of its name in one of the modules beside this one."""
_MODULES = {"show": "show", "diff": "show", "tag": "label", "note": "label"}
_MODULES |= {"rm": "remove", "gc": "remove", "archive": "archive", "watch": "watch"}


def main(arguments: list[str]) -> int:
    """List runs, or do with them what the first word says."""
    action = arguments[0] if arguments and arguments[0] in ACTIONS else ""
    module = importlib.import_module(f"mnist_lab.cli.runs.{_MODULES.get(action, 'listing')}")
    if action:
        return int(getattr(module, action)(arguments[1:]) or 0)
    return int(module.main(arguments))
