"""Downloads the sets that are not in the package from where they are published."""

import hashlib
import logging
import urllib.error
import urllib.request

SOURCES = {
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "kmnist": "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    "qmnist": "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
    "usps": "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
}
ELSEWHERE = {  # sets whose files have no published hashes, or lie in an archive of gigabytes
    "emnist": "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "kuzushiji49": "http://codh.rois.ac.jp/kmnist/",
}
MD5 = {
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    "kmnist": {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    },
    "qmnist": {
        "qmnist-train-images-idx3-ubyte.gz": "ed72d4157d28c017586c42bc6afe6370",
        "qmnist-train-labels-idx2-int.gz": "0058f8dd561b90ffdd0f734c6a30e5e4",
        "qmnist-test-images-idx3-ubyte.gz": "1394631089c404de565df7b7aeaf9412",
        "qmnist-test-labels-idx2-int.gz": "5b5b05890a5e13444e108efe57b788aa",
    },
    "usps": {
        "usps.bz2": "ec16c51db3855ca6c91edd34d0e9b197",
        "usps.t.bz2": "8ea070ee2aca1ac39742fdd1ef5ed118",
    },
}
_NETWORK_SECONDS = 15  # without an answer
_log = logging.getLogger(__name__)


def download(key: str, name: str) -> bytes:
    """Return a file of a set, checked by its MD5.

    Args:
        key: the set.
        name: the file's name as it is published, with its ``.gz``.

    Raises:
        OSError, HTTPException: it cannot be downloaded, or is another file.
    """
    if place := ELSEWHERE.get(key.partition("-")[0]):
        raise OSError(f"it is published at {place}")
    url = SOURCES[key] + name
    request = urllib.request.Request(url, headers={"User-Agent": "mnist_lab"})
    _log.info("downloading %s", url)
    try:
        with urllib.request.urlopen(request, timeout=_NETWORK_SECONDS) as response:
            content: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[key][name]:
        raise OSError(f"{url} is not the published file")
    return content
