"""Cross-validation by ``cv=5``: a sweep over the folds of the training images."""

from collections.abc import Sequence

from omegaconf import DictConfig

from mnist_lab.config.overrides import RANGE, parse_overrides
from mnist_lab.errors import ConfigError

FOLDS, FOLD = "data.folds", "data.fold"
_SAMPLER = "hydra.sweeper.sampler"


def folds_for(overrides: Sequence[str]) -> list[str]:
    """Return overrides with the sweep over folds that their ``cv=K`` stands for.

    The folds are trained as one program unless a launcher is chosen.

    Raises:
        ConfigError: ``cv`` is no number of folds, or what is varied besides is not a grid.
    """
    parsed = parse_overrides(overrides)
    text, folds = next(
        (str(item.input_line), item.value()) for item in parsed if item.key_or_group == "cv"
    )
    if type(folds) is not int or folds < 2:
        raise ConfigError(f"{text}: must be the number of folds, 2 or more, as in cv=5")
    others = [item for item in parsed if item.key_or_group != "cv"]
    chosen = {item.key_or_group: item for item in others}
    if "sweep" in chosen and chosen["sweep"].value() == RANGE:
        raise ConfigError(f"{text}: must be left out with sweep={RANGE}")
    for key in (FOLDS, FOLD):
        if key in chosen:
            raise ConfigError(f"{chosen[key].input_line}: must be left out with {text}")
    sampler = chosen.get(_SAMPLER)
    if sampler is not None and sampler.value() not in ("grid", "auto"):
        raise ConfigError(f"{sampler.input_line}: must be grid with {text}, which trains all folds")
    for item in others:
        if item.is_interval_sweep():
            raise ConfigError(f"{item.input_line}: must be listed values with {text}, 1e-3,1e-2")
    added = [f"{FOLDS}={folds}", f"{FOLD}=range({folds})"]
    if "hydra/sweeper" not in chosen:
        added += [f"{_SAMPLER}=grid"]
        added += ["hydra/launcher=fused"] if "hydra/launcher" not in chosen else []
    return [*(str(item.input_line) for item in others), *added]


def check_grid(config: DictConfig) -> None:
    """Check that a composed cross-validation is a grid, also where a file says what is searched.

    Raises:
        ConfigError: it is a search.
    """
    sweeper, sweep = config.hydra.sweeper, config.hydra.runtime.choices.get("sweep")
    texts = map(str, (sweeper.get("params") or {}).values())
    is_search = sweeper.get("n_trials") is not None or any("interval(" in text for text in texts)
    if is_search and sweep:
        raise ConfigError(
            f"sweep={sweep}: must be left out with cv, as it draws its trials, which are not "
            "trained on all folds; search first, then take its best: "
            "mnist-lab train cv=5 --config-dir SWEEP experiment=best"
        )
    if is_search:
        raise ConfigError("hydra.sweeper.n_trials: must be left out with cv, which trains a grid")
