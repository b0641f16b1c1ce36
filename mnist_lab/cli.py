"""The ``mnist-lab`` command: picks the verb. It imports nothing heavier than Hydra."""

import importlib
import os
import sys

from mnist_lab.errors import ConfigError, LabError

VERBS = {
    "train": "train a model; with -m, one for each combination of values",
    "evaluate": "evaluate a run's best checkpoint again",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a verb and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "-sc" in arguments or "--shell-completion" in arguments:
        return _complete(arguments)
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        print(_usage())
        return 0
    try:
        if verb not in VERBS:
            raise ConfigError(f"{verb}: no such command; there are {', '.join(VERBS)}")
        module = importlib.import_module(f"mnist_lab.commands.{verb}")
        return int(module.main(arguments[1:]) or 0)
    except LabError as error:
        print(f"mnist-lab {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"mnist-lab {verb}: stopped by Ctrl-C", file=sys.stderr)
        return 130


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {text}" for verb, text in VERBS.items())
    return f"usage: mnist-lab COMMAND ...\n\n{verbs}\n\nmnist-lab COMMAND --help says more."


def _complete(arguments: list[str]) -> int:
    """Print the completion script, or complete a command line for it, through Hydra's own."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        if "query" in arguments[-1]:
            print(" ".join(VERBS))
            return 0
    elif words[1] == "train":
        os.environ["COMP_LINE"] = line.replace(" train", "", 1)
    from mnist_lab.commands import train

    sc = arguments.index("-sc" if "-sc" in arguments else "--shell-completion")
    return train.main(arguments[sc:])
