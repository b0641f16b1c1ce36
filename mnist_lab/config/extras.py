"""Packages that an extra of the lab installs."""

from importlib.util import find_spec

from mnist_lab.errors import ConfigError


def require(extra: str, *packages: str, by: str = "") -> None:
    """Check that the packages of an extra are there, and not just folders of their names.

    Args:
        extra: its name.
        packages: those that are needed.
        by: the key or the option that needs them.

    Raises:
        ConfigError: one is not installed.
    """
    for name in packages:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            place = f"{by}: " if by else ""
            raise ConfigError(f"{place}{name} is not installed; pip install 'mnist_lab[{extra}]'")
