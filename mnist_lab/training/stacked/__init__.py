"""Several trials trained as one stacked model, as ``hydra/launcher=fused`` and ``train_many`` do.

Layers that hold the weights of K networks (``layers.py``) make up a network (``network.py``; any
other one: ``vmapped.py``). It is a LightningModule (``module.py``) that a Lightning Trainer fits
(``fit.py``): for trials of a sweep in ``train.py``, for models given from Python in ``many.py``.
On a GPU the optimizer steps by ``formulas.py``, and ``cuda_graph.py`` launches a step in one call.
"""
