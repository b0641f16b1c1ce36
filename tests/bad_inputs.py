"""Commands that are wrong, and the folder in which they are typed."""

from pathlib import Path

import yaml

BAD = yaml.safe_load(
    (Path(__file__).parent / "cli" / "bad_configs.yaml").read_text(encoding="utf-8")
)
OWN = {
    "callbacks/direct": "evil: {_target_: os.system, command: touch evidence}",
    "callbacks/aliased": "a: {_target_: '${callbacks.b}'}\nb: os.system\nevil: ${callbacks.a}",
    "callbacks/created": "evil: '${oc.create:{_target_: os.system, command: touch evidence}}'",
    "callbacks/from_env": "evil: {_target_: '${oc.env:EVIL}', command: touch evidence}",
    "experiment/opens_itself": """\
# @package _global_
allow_targets: [os.]
callbacks: {evil: {_target_: os.system, command: touch evidence}}
hydra: {overrides: {task: ['allow_targets=[os.]'], hydra: ['allow_targets=[os.]']}}
""",
    "experiment/allows": "# @package _global_\nallow_targets: [evil.]\n",
    "experiment/hydra_callback": """\
# @package _global_
hydra: {callbacks: {evil: {_target_: os.system, command: touch evidence}}}
""",
    "experiment/hydra_alias": """\
# @package _global_
callbacks: {a: {_target_: '${oc.env:EVIL}', command: touch evidence}}
hydra: {callbacks: {evil: '${callbacks.a}'}}
""",
}
STORED = "data: {dataset: mnist}\nmodel: {_target_: '%s'}\n"


def make_folder(folder: Path) -> None:
    """Write a user's own choices and a few runs, one of them malicious."""
    for name, text in OWN.items():
        path = folder / "own" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, target in (
        ("stored_run", "mnist_lab.models.MLP"),
        ("evil_run", "os.system"),
        ("aliased_run", "${oc.env:EVIL}"),
    ):
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text(STORED % target, encoding="utf-8")
        (folder / name / "manifest.json").write_text("{}", encoding="utf-8")
