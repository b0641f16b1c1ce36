"""Tags and notes of runs, and a process that is killed while it writes them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from browser import opened
from door import FEW_BATCHES, call, train
from made_runs import CONFIG, make_run
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard_server import as_json, at_address, serving, until_there

from mnist_lab.errors import BusyError, ConfigError, UntrustedError
from mnist_lab.runs.directory import hold, read_json
from mnist_lab.runs.labels import Labels, check_tags, labels_of, note_run, tag_run
from mnist_lab.training.loggers.hparams import log_config
from mnist_lab.training.loggers.tensorboard import TensorBoard

NOTE = "</code><script >alert(1)</script> <img src=x onerror=alert(2)> \x1b]0;owned\x07 \u202egpj"


def labelled_run(folder: Path) -> Path:
    """Make a run whose event files have a tag and a hostile note."""
    run = make_run(folder, 0, 0.9)
    logger = TensorBoard(str(run), name="", version="")
    config = OmegaConf.create(CONFIG | {"tags": ["first"], "note": NOTE, "run_dir": str(run)})
    log_config([logger], config)
    logger.log_metrics({"val/acc": 0.5}, 1)
    logger.finalize("success")
    return run


def labels(run: Path) -> Labels:
    return labels_of(read_json(run / "manifest.json"))


def test_tags_and_a_note_are_kept_beside_what_is_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    tag_run(run, ["paper", "baseline", "paper"])
    note_run(run, "why\nso")
    tag_run(run, ["new"], drop=["baseline"])
    assert labels(run) == Labels(("paper", "new"), "why\\nso")
    assert read_json(run / "manifest.json")["state"] == "finished"
    note_run(run, "")
    assert labels(run).note == ""


def test_a_run_that_trains_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    before = (run / "manifest.json").read_bytes()
    with hold(run / ".lock", run):
        with pytest.raises(BusyError):
            tag_run(run, ["paper"])
        with pytest.raises(BusyError):
            note_run(run, "why")
    assert (run / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("tag", ["", "a b", "=1+1", "-x", "x" * 51, "\x1b[31m", "a/b"])
def test_a_tag_is_a_word(tag: str) -> None:
    with pytest.raises(ConfigError, match="tag"):
        check_tags([tag])


def test_what_is_too_much_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    with pytest.raises(ConfigError, match="50 tags"):
        tag_run(run, [f"t{number}" for number in range(51)])
    with pytest.raises(ConfigError, match="2,000"):
        note_run(run, "x" * 2001)


def test_a_strangers_labels_are_bounded_and_only_show() -> None:
    found = labels_of({"tags": ["\x1b[2J" * 9, 3, "x" * 1_000_000] * 99, "note": "\u202e" * 10**6})
    assert len(found.tags) == 50
    assert all(tag.isprintable() for tag in found.tags)
    assert found.note.isprintable()
    assert len(found.note) < 20_000
    assert labels_of({"tags": "paper", "note": ["x"]}) == Labels()


def test_no_link_is_followed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    (tmp_path / "other.json").write_text("{}")
    (run / "manifest.json").unlink()
    (run / "manifest.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(UntrustedError):
        tag_run(run, ["paper"])
    assert (tmp_path / "other.json").read_text() == "{}"


WRITES = """
import sys
from pathlib import Path
from mnist_lab.runs.labels import note_run, tag_run
run = Path(sys.argv[1])
print(flush=True)
for number in range(1_000_000):
    tag_run(run, [f"t{number % 2}"], [f"t{(number + 1) % 2}"])
    note_run(run, f"note {number % 2}")
"""


@pytest.mark.slow
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    tag_run(run, ["t0"])
    for number in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES, str(run)], stdout=subprocess.PIPE, env=os.environ
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + number * 0.003)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = labels(run)
        assert found.tags in (("t0",), ("t1",))
        assert found.note in ("", "note 0", "note 1")
        assert json.loads((run / "manifest.json").read_text())["state"] == "finished"
    note_run(run, "last")
    assert not list(run.glob(".*.partial"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("name=a/b", "name=a/b: must be letters"),
        ("name=../b", "must be letters"),
        ("tags=['=1']", "tag =1: must be letters"),
        ("note=" + "n" * 2001, "a note has 2,000 characters at most"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "train -m"])
def test_a_wrong_label_at_launch_is_one_line(
    words: str, message: str, verb: str, tmp_path: Path
) -> None:
    done = call(f'{verb} model=softmax "{words}"', tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_labels_of_a_launch_are_the_runs(tmp_path: Path) -> None:
    few = FEW_BATCHES.replace("logger=none", "logger=tensorboard")
    labels = "name=first tags=[paper,base,paper] note='with care'"
    run = train(f"model=softmax {few} {labels}", tmp_path)
    assert run.name.endswith("_first")
    assert run.parent == tmp_path / "outputs/runs"
    assert labels_of(read_json(run / "manifest.json")) == Labels(("paper", "base"), "with care")
    events = EventAccumulator(str(run)).Reload()
    (text,) = events.Tensors("config/text_summary")
    assert b"with care" in text.tensor_proto.string_val[0]
    hparams = HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    ).session_start_info.hparams
    assert hparams["tags"].string_value == "paper base"
    assert hparams["note"].string_value == "with care"
    assert hparams["name"].string_value == "first"
    listed = call("runs --where 'tag=paper' --columns run,tags,note --csv", tmp_path)
    assert listed.stdout.splitlines()[1].endswith("_first,paper base,with care")
    again = call(f"train model=softmax {few} tags=[other] hydra.run.dir={run}", tmp_path)
    assert again.returncode == 0  # which does not make it another run
    assert call(f"runs tag {run} paper --remove", tmp_path).returncode == 0
    assert call(f"resume {run}", tmp_path).returncode == 0


def test_labels_of_a_sweep_are_its_trials(tmp_path: Path) -> None:
    command = f"train -m model=softmax {FEW_BATCHES} name=two tags=[x] note=n optimizer.lr=0.1,0.2"
    done = call(f"{command} hydra/launcher=fused", tmp_path)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    assert sweep.name.endswith("_two")
    for number in "01":
        labels = labels_of(read_json(sweep / number / "manifest.json"))
        assert labels == Labels(("x",), "n")
    recipe = (sweep / "experiment/best.yaml").read_text()
    assert "tags" not in recipe
    rows = json.loads(call("runs --json", tmp_path).stdout)
    assert rows[0]["tags"] == ["x"]


@pytest.mark.thorough
def test_labels_given_later_are_in_tensorboard_and_only_show(tmp_path: Path) -> None:
    run = labelled_run(tmp_path / "logs" / "a")
    with serving(tmp_path / "logs") as ask:

        def texts(tag: str) -> Any:
            return as_json(ask("text/text", run="a", tag=f"{tag}/text_summary"))

        (config_text,) = until_there(lambda: texts("config"))
        tag_run(run, ["paper"])  # while it is open
        note_run(run, NOTE)
        first, second = until_there(lambda: len(found := texts("labels")) == 2 and found)
        assert [first["step"], second["step"]] == [0, 1]
        assert "tags: paper" in first["text"]
        assert "alert" not in first["text"]
        for text in (second["text"], config_text["text"]):
            assert "alert" in text
            assert not re.search("<(script|img|a) ", text)
            assert not set(text) & set("\x1b\x07\u202e")
        question = {"experimentName": "", "startIndex": 0, "sliceSize": 1}
        statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        question |= {"allowedStatuses": statuses, "colParams": []}
        groups = as_json(ask("hparams/session_groups", request=json.dumps(question)))
        values = groups["sessionGroups"][0]["hparams"]
        assert values["tags"] == "first"
        assert not set(values["note"]) & set("\x1b\x07\u202e")
    assert len(list(run.glob("events.*"))) == 3


@pytest.mark.slow
def test_hyperparameters_page_shows_hostile_labels_as_text(tmp_path: Path) -> None:
    labelled_run(tmp_path / "logs" / "a")
    dialogs: list[str] = []
    with at_address(tmp_path / "logs") as home, opened(tmp_path / "profile") as page:
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(f"{home}#hparams")
        page.locator("paper-checkbox", has_text="note").first.click(timeout=60_000)
        page.get_by_text("alert(2)").first.wait_for(state="attached")  # as text
        page.wait_for_timeout(500)
    assert dialogs == []


def test_without_event_files_none_are_made(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    tag_run(run, ["paper"])
    assert not list(run.glob("events.*"))
