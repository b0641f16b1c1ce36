# Sourced by the other scripts: makes .venv beside this folder and installs the project into it.
# A second call costs nothing; a changed pyproject.toml installs again.
set -eu
root=$(CDPATH="" cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
constraints=$root/constraints.txt

find_python() {
    for name in "${PYTHON:-}" python3.11 python3.12 python3.13 python3 python; do
        [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 || continue
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
            2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "mnist_lab needs Python 3.11 to 3.13 with venv (on Debian: apt install python3-venv);" \
        "PYTHON=/path/to/python names one" >&2
    return 2
}

# What an installation with the extras $1 depends on.
state() {
    echo "$1 $root $(cksum <"$root/pyproject.toml") $(cksum <"$constraints")"
}

installed() {
    [ -f "$venv/.installed-$1" ] && [ "$(cat "$venv/.installed-$1")" = "$(state "$1")" ]
}

has_gpu() {
    [ "$(uname)" = Darwin ] || [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] # the last is WSL's
}

# install EXTRAS: installs the project with those extras unless that, or all of it, was done already.
install() {
    if installed "$1" || installed dev; then
        return
    fi
    # Whoever interrupts venv leaves a Python without pip, and a Python that is upgraded none.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        "$python" -m venv --clear "$venv"
    fi
    echo "installing mnist_lab into $venv (once; about 6 GB with torch's CUDA libraries)" >&2
    if ! has_gpu && ! compgen -G "$venv/lib/python3.*/site-packages/torch" >/dev/null; then
        echo "no NVIDIA GPU was found: docs/install.md has PyTorch without CUDA, a tenth of the size" >&2
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$constraints" --editable "$root${1:+[$1]}" >&2
    state "$1" >"$venv/.installed-$1"
}
