"""Training objectives over user states and item vectors. All return a scalar, in nats."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sasrec_bce(states: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """SASRec, eq. 6 of the paper: BCE on the next item and on one negative, mean over real positions.

    All (P, d) float: P is the number of real positions, so padding never enters.
    """
    pos, neg = (states * positive).sum(-1), (states * negative).sum(-1)  # (P,)
    return F.softplus(-pos).mean() + F.softplus(neg).mean()


def in_batch_softmax(
    states: Tensor, items: Tensor, target: Tensor, log_q: Tensor, own: Tensor, scale: float = 1.0
) -> Tensor:
    """Softmax cross-entropy over the batch's items, corrected for sampling: logit - log q_i.

    states (P, d); items (N, d); target (P,) index into items; log_q (N,) log share of interactions;
    own (P, N) bool, True where the item is in that user's sequence: masked out unless it is the target.
    Source of the correction: Bengio & Senecal 2008; Yi et al., RecSys 2019.
    """
    logits = scale * (states @ items.T) - log_q  # (P, N)
    keep = F.one_hot(target, items.size(0)).bool()
    return F.cross_entropy(logits.masked_fill(own & ~keep, torch.finfo(logits.dtype).min), target)
