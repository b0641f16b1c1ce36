"""Composing and checking the configs of a sweep's trials."""

import copy
from collections.abc import Iterable, Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config.allowlist import check_targets
from mnist_lab.config.compose import Loader, resolved
from mnist_lab.config.messages import explain
from mnist_lab.config.validate import check
from mnist_lab.config.validate_trainer import check_trial
from mnist_lab.errors import ConfigError, LabError


class Points:
    """Composes a trial's config without Hydra's work for each: a choice of files is read once.

    Hydra takes 80 ms for a config, which is more than a minute for a grid of a thousand.

    Args:
        loader: composes.
        master: the sweep's own config.
        fixed: overrides of every trial.
    """

    def __init__(self, loader: Loader, master: DictConfig, fixed: Sequence[str] = ()) -> None:
        self._loader = loader
        self._master = master
        self._fixed = list(fixed)
        self._bases: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}

    def config(self, overrides: Sequence[str], number: int = 0) -> DictConfig:
        """Return the resolved config of a trial, without its ``hydra`` node.

        Args:
            overrides: what the trial has besides the fixed ones.
            number: its place in the sweep.

        Raises:
            ConfigError: an override does not fit.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        parser = OverridesParser.create(config_loader=self._loader)
        parsed = parser.parse_overrides(list(overrides))
        exists = self._loader.repository.group_exists
        groups = [one for one in parsed if exists(one.key_or_group)]
        values = [one for one in parsed if not exists(one.key_or_group)]
        base, hydra = self._base(tuple(str(one.input_line) for one in groups))
        config = copy.deepcopy(base)
        instance = HydraConfig.instance()
        before = instance.cfg
        try:
            ConfigLoaderImpl._apply_overrides_to_config(values, config)
            hydra.hydra.job.update(num=number, id=str(number))
            instance.cfg = hydra  # type: ignore[assignment]
            OmegaConf.resolve(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error)) from error
        finally:
            instance.cfg = before
        check_targets(OmegaConf.to_container(config), self._loader.allowed)
        return config

    def _base(self, groups: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        """Return the config that a choice of files makes, and its ``hydra`` node apart."""
        if groups not in self._bases:
            base = self._loader.load_sweep_config(self._master, [*self._fixed, *groups])
            hydra = OmegaConf.create({"hydra": resolved(base).hydra})
            with flag_override(base, ["struct", "readonly"], [False, False]):
                del base["hydra"]
            self._bases[groups] = base, hydra
        return self._bases[groups]

    def check(self, points: Iterable[Sequence[str]]) -> DictConfig | None:
        """Check points as a single run is checked, and that they can be compared.

        Args:
            points: the overrides of each.

        Returns:
            The config of the first one.

        Raises:
            LabError: a point is wrong; the message starts with it.
        """
        first: DictConfig | None = None
        for number, point in enumerate(points):
            try:
                config = self.config(point, number)
                check(config)
                check_trial(config)
                first = config if first is None else first
                for name in ("monitor", "mode"):
                    if config[name] != first[name]:
                        raise ConfigError(
                            f"{name}={config[name]}: must be {first[name]} as in the other trials, "
                            "which it is compared with"
                        )
            except LabError as error:
                raise type(error)(f"{' '.join([*point, *self._fixed])}: {error}") from error
        return first
