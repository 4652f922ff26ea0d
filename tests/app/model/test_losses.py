import math

import torch

from app.model.losses import in_batch_softmax, sasrec_bce


def test_sasrec_bce_is_the_formula_of_eq_6() -> None:
    states, pos, neg = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, -1.0]])
    expected = -math.log(1 / (1 + math.exp(-3))) - math.log(1 - 1 / (1 + math.exp(2)))
    assert math.isclose(float(sasrec_bce(states, pos, neg)), expected, rel_tol=1e-6)


def test_in_batch_softmax_by_hand() -> None:
    states, items = torch.tensor([[1.0]]), torch.tensor([[2.0], [1.0], [0.5]])
    log_q = torch.tensor([0.5, 0.25, 0.25]).log()
    own = torch.tensor([[False, False, True]])  # the third item is the user's: masked out
    a, b = math.exp(2) / 0.5, math.exp(1) / 0.25
    loss = in_batch_softmax(states, items, torch.tensor([0]), log_q, own)
    assert math.isclose(float(loss), -math.log(a / (a + b)), rel_tol=1e-6)


def test_the_target_is_never_masked() -> None:
    own = torch.tensor([[True, False]])
    args = (torch.tensor([[1.0]]), torch.tensor([[2.0], [1.0]]), torch.tensor([0]), torch.zeros(2))
    assert torch.equal(in_batch_softmax(*args, own), in_batch_softmax(*args, torch.zeros_like(own)))
