"""A lineage as the settings of one run, and as overrides."""

from mnist_lab.config.compose import compose
from mnist_lab.sweeps.inheritance import PHASES, Phase, overrides, settings_of
from mnist_lab.sweeps.records import Record

LINEAGE = [
    Phase(0, 2, {"optimizer.lr": "1e-05", "+model.dropout": "0.1"}),
    Phase(2, 1, {"optimizer.lr": "1", "+model.dropout": "0.2"}),
]


def test_a_trial_without_one_has_its_own_values() -> None:
    assert overrides(Record(0, {"optimizer.lr": "0.1"}, 0)) == ["optimizer.lr=0.1"]


def test_overrides_compose_to_its_settings() -> None:
    record = Record(1, LINEAGE[-1].params, 1, lineage=LINEAGE)
    texts = [text.replace("+model", "model") for text in overrides(record)]
    config = compose(["model=mlp", "scheduler=none", *texts])
    settings = settings_of(LINEAGE)
    assert settings[PHASES]["phases"] == [{"epoch": 2, "optimizer.lr": 1.0, "model.dropout": 0.2}]
    assert config.callbacks.phases == settings[PHASES]
    assert (config.optimizer.lr, config.model.dropout) == (1e-5, 0.1)
