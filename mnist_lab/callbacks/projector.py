"""Files of TensorBoard's projector: vectors, their labels and a sprite of their images.

torch's ``add_embedding`` adds to the projector's config at each call, so that a test that is run
again shows everything twice. Here the files are the run's own, and are replaced.
"""

import io
import math
from pathlib import Path

import numpy as np
from torch import Tensor

from mnist_lab.files.atomic import write_atomic
from mnist_lab.files.images import png

CONFIG = "projector_config.pbtxt"  # where TensorBoard looks for it
FOLDER = "projector"
NAME = "penultimate layer, test images"


def write_projector(
    log_dir: Path, vectors: Tensor, columns: dict[str, Tensor], images: Tensor
) -> None:
    """Write a run's one embedding, or replace it, in what TensorBoard takes for its directory.

    Vectors are ``(N, D)``, columns labels ``(N,)`` by name, and images ``(N, 1, H, W)`` uint8.

    Raises:
        OSError: a file cannot be written.
    """
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    folder = log_dir / FOLDER
    text = io.BytesIO()
    np.savetxt(text, vectors.float().nan_to_num(0.0).numpy(), fmt="%.4g", delimiter="\t")
    write_atomic(folder / "vectors.tsv", text.getvalue(), log_dir)
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    write_atomic(folder / "labels.tsv", "\n".join([*lines, ""]).encode(), log_dir)
    write_atomic(folder / "sprite.png", _sprite(images), log_dir)
    config = ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = NAME
    embedding.tensor_path = f"{FOLDER}/vectors.tsv"
    embedding.metadata_path = f"{FOLDER}/labels.tsv"
    embedding.sprite.image_path = f"{FOLDER}/sprite.png"
    embedding.sprite.single_image_dim.extend([images.shape[3], images.shape[2]])
    write_atomic(log_dir / CONFIG, text_format.MessageToString(config).encode())


def _sprite(images: Tensor) -> bytes:
    """Return a PNG of all images, row by row, in a square, light on dark as the projector is."""
    count, _, height, width = images.shape
    side = math.ceil(math.sqrt(count))
    canvas = np.zeros((side * side, height, width), dtype=np.uint8)
    canvas[:count] = images[:, 0].numpy()
    rows = canvas.reshape(side, side, height, width).swapaxes(1, 2)
    return png(rows.reshape(side * height, side * width))
