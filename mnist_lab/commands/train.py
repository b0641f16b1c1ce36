"""``mnist-lab train``: hands the command line to Hydra, which composes and calls the job."""

import sys

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config import CONF, explain, hydra_errors_in_full, register
from mnist_lab.errors import ConfigError


def main(arguments: list[str]) -> int:
    """Train with Hydra overrides.

    Raises:
        LabError: something that the user can mend is wrong.
    """
    if "--help" in arguments or "-h" in arguments:
        from mnist_lab.commands.help import train_help

        print(train_help())
        return 0
    original = sys.argv

    def job(config: DictConfig) -> float | None:
        sys.argv = original  # what Lightning starts the other ranks of a machine with
        from mnist_lab.job import run

        return run(config)

    register()
    hydra_errors_in_full()
    sys.argv = [original[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    finally:
        sys.argv = original
    return 0
