"""``mnist-lab schema``."""

import json
from pathlib import Path

from door import call

from mnist_lab.config.json_schema import json_schema


def test_prints_the_schema(tmp_path: Path) -> None:
    done = call("schema", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json_schema()


def test_takes_no_arguments(tmp_path: Path) -> None:
    done = call("schema model", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "mnist-lab schema: unrecognized arguments: model; mnist-lab schema --help says more\n"
    )
