"""Downloads the sets that are not in the package from where they are published."""

import hashlib
import logging
import urllib.error
import urllib.request

ELSEWHERE = {  # sets whose files have no published hashes, or lie in an archive of gigabytes
    "emnist": "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "kuzushiji49": "http://codh.rois.ac.jp/kmnist/",
}
_NETWORK_SECONDS = 15  # without an answer
_log = logging.getLogger(__name__)


def download(key: str, name: str) -> bytes:
    """Return a file of a set by its published name, with its ``.gz``, checked by its MD5.

    Raises:
        OSError, HTTPException: it cannot be downloaded, or is another file.
    """
    if place := ELSEWHERE.get(key.partition("-")[0]):
        raise OSError(f"it is published at {place}")
    url, md5 = _address(key, name)
    request = urllib.request.Request(url, headers={"User-Agent": "mnist_lab"})
    _log.info("downloading %s", url)
    try:
        with urllib.request.urlopen(request, timeout=_NETWORK_SECONDS) as response:
            content: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise OSError(f"{url} is not the published file")
    return content


def _address(key: str, name: str) -> tuple[str, str]:
    """Return the URL and the MD5 of a file, as torchvision has them."""
    from torchvision import datasets  # takes a second

    files: list[tuple[str, str]]
    if key == "qmnist":
        files = [*datasets.QMNIST.resources["train"], *datasets.QMNIST.resources["test"]]
    elif key == "usps":
        files = [(url, md5) for url, _, md5 in datasets.USPS.split_list.values()]
    else:
        published = {"fashion_mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}[key]
        files = [(published.mirrors[0] + file, md5) for file, md5 in published.resources]
    return next((url, md5) for url, md5 in files if url.endswith(f"/{name}"))
