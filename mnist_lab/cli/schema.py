"""``mnist-lab schema``: prints the JSON Schema of the config files, for editors."""

import json

from mnist_lab.cli.arguments import Parser
from mnist_lab.config.json_schema import json_schema

_DESCRIPTION = """\
Prints the JSON Schema of the files in conf/ and of one's own, by which an editor completes keys and
shows what is wrong. mnist-lab schema > mine/schema.json, and then the first line of
mine/experiment/own.yaml: # yaml-language-server: $schema=../schema.json#/definitions/Train"""


def main(arguments: list[str]) -> int:
    """Print the schema.

    Raises:
        ConfigError: there is an argument.
    """
    Parser("mnist-lab schema", description=_DESCRIPTION).parse_intermixed_args(arguments)
    print(json.dumps(json_schema(), indent=1))
    return 0
