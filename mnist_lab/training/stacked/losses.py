"""Losses of the trials of a stack, with the gradients that each has alone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def training_losses(
    logits: Tensor, labels: Tensor, smoothing: Sequence[float], sent: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each trial's mean cross-entropy ``(K,)``, to take the gradient of and to report.

    ``F.cross_entropy`` takes one label smoothing and one mean. The gradients are the same bits as
    with it, the means may differ in the last; so on a CPU the reported ones are the lone run's own.

    Args:
        logits: ``(K, B, num_classes)``.
        labels: ``(K, B)``, or of mixed images probabilities ``(K, B, num_classes)``.
        smoothing: of each trial the share of the target that is spread over all classes.
        sent: the same ``(K,)`` on the device.
    """
    if labels.ndim == 3:  # the lone run's own, one by one
        rows = zip(logits, labels, smoothing, strict=True)
        losses = torch.stack([F.cross_entropy(a, b, label_smoothing=share) for a, b, share in rows])
        return losses, losses.detach()
    log_probs = F.log_softmax(logits, 2)
    own = F.nll_loss(log_probs.flatten(0, 1), labels.flatten(), reduction="none")
    losses = own.view(labels.shape).mean(1)
    if any(smoothing):
        spread = -log_probs.sum(2).mean(1)
        losses = spread * (sent / logits.shape[2]) + losses * (1 - sent)
    if logits.device.type != "cpu":
        return losses, losses.detach()
    with torch.no_grad():
        if not any(smoothing):
            reported = [F.nll_loss(*pair) for pair in zip(log_probs, labels, strict=True)]
        else:
            rows = zip(logits, labels, smoothing, strict=True)
            reported = [F.cross_entropy(a, b, label_smoothing=share) for a, b, share in rows]
        return losses, torch.stack(reported)
