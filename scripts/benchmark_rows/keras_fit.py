"""Seconds per training epoch of the same nets under Keras, where TensorFlow is installed."""

import importlib
import importlib.util
import itertools
import statistics
import time
from typing import Any

import numpy as np

from benchmark_rows import digits
from benchmark_rows.catalog import NETS, NUM_VAL, Job, Net


def fit(job: Job, net: str) -> dict[str, Any]:
    """Time ``model.fit`` with validation, over float images in memory, as Keras's tutorials do."""
    if importlib.util.find_spec("tensorflow") is None:
        return {"skipped": "TensorFlow is not installed (extra `bench`)"}
    keras = importlib.import_module("tensorflow").keras
    settings = NETS[net]
    images, labels = digits.read(job.root, train=True)
    scaled = (images.astype(np.float32) / 255)[..., None]
    batches = max(1, round(settings.batches * job.size.share(settings)))
    last = min(len(labels), NUM_VAL + batches * settings.batch_size)
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    model = build(keras, settings)
    model.fit(
        scaled[NUM_VAL:last],
        labels[NUM_VAL:last],
        batch_size=settings.batch_size,
        epochs=job.size.epochs(settings),
        validation_data=(scaled[:NUM_VAL], labels[:NUM_VAL]),
        callbacks=[clock],
    )
    seconds = [end - start for start, end in itertools.pairwise(ends)]
    scale = settings.batches / batches
    return {
        "figure": statistics.median(seconds) * scale,
        "epoch_seconds": seconds,
        "scaled_by": scale,
        "note": f"keras {keras.__version__}",
    }


def build(keras: Any, net: Net) -> Any:
    """Return the compiled Keras model of a net."""
    layers = [keras.layers.Input((28, 28, 1))]
    for channels in net.channels:
        layers.append(keras.layers.Conv2D(channels, 5, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D(2))
    layers.append(keras.layers.Flatten())
    layers += [keras.layers.Dense(units, activation="relu") for units in net.hidden_dims]
    if net.dropout:
        layers.append(keras.layers.Dropout(net.dropout))
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model
