"""``mnist-lab serve``: serves a page on which a digit is drawn and recognised."""

from ipaddress import IPv4Address
from pathlib import Path

from mnist_lab.cli.arguments import Parser, split_targets
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.config.extras import require
from mnist_lab.config.saved import stored_config
from mnist_lab.errors import ConfigError

_DESCRIPTION = """\
Serves a page on which to draw a digit, or to drop an image, and to see the predictions of one run
or several: the probabilities, the model's input, and the pixels that the prediction depends on. The
page is for this machine alone, and fetches nothing from elsewhere. It needs: pip install
'mnist_lab[demo]'"""


def main(arguments: list[str]) -> int:
    """Serve the page until it is stopped."""
    parser = Parser("mnist-lab serve", description=_DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directories of runs")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on; default 127.0.0.1, which only this machine reaches",
    )
    options = parser.parse_intermixed_args(arguments)
    runs, targets = split_targets(options.runs, "RUN")
    if not 0 <= options.port < 2**16:
        raise ConfigError(f"--port {options.port}: must be 0 to 65535")
    _check_address(options.host)
    require("demo", "starlette", "uvicorn")
    for run in runs:
        stored_config(Path(run), targets)  # finds errors before the slow imports

    with without_collector():
        from mnist_lab.errors import printable
        from mnist_lab.inference.predict import open_run
        from mnist_lab.inference.web.server import listen, serve

    opened = {printable(Path(run)): open_run(Path(run), targets) for run in runs}
    with listen(options.host, options.port) as listener:
        address, port = listener.getsockname()
        print(f"http://{address}:{port}/ is the page; Ctrl-C ends it", flush=True)
        serve(opened, listener)
    return 0


def _check_address(address: str) -> None:
    """Require one address, as each request's Host is checked against it."""
    try:
        is_valid = address == "localhost" or not IPv4Address(address).is_unspecified
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ConfigError(f"--host {address}: must be one IPv4 address of this machine")
