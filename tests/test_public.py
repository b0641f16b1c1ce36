"""The public names, each from the package itself."""

import subprocess
import sys

import mnist_lab


def test_names_are_there() -> None:
    for name in mnist_lab.__all__:
        assert callable(getattr(mnist_lab, name))


def test_importing_the_package_is_free() -> None:
    code = "import sys, mnist_lab; print([n for n in ('torch', 'hydra') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_train_is_the_function_whatever_was_imported_before() -> None:
    code = (
        "import mnist_lab.cli.train, mnist_lab.training.run, mnist_lab.__main__\n"
        "from mnist_lab import train\n"
        "assert callable(train), train"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
