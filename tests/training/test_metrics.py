import math

import numpy as np
import pytest
import torch

from training.metrics import expected_ranks, summarize


def test_ties_stand_at_their_expected_rank() -> None:
    scores = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.0]])
    assert expected_ranks(scores, torch.tensor([0])).tolist() == [1.0]
    assert expected_ranks(scores, torch.tensor([1])).tolist() == [3.0]  # places 2, 3, 4
    assert expected_ranks(scores, torch.tensor([4])).tolist() == [5.0]


def test_excluded_items_do_not_count() -> None:
    scores = torch.tensor([[-torch.inf, 1.0, -torch.inf]])
    assert expected_ranks(scores, torch.tensor([1])).tolist() == [1.0]


def test_hr_and_ndcg_by_hand() -> None:
    m = summarize(np.array([1.0, 10.0, 11.0, 500.0]))
    assert m.hr10 == 2 / 4
    assert m.ndcg10 == pytest.approx((1 + 1 / math.log2(11)) / 4)
    assert m.hr10_se == pytest.approx(0.5 / math.sqrt(3))


def test_no_users_is_zero() -> None:
    assert summarize(np.array([])).users == 0
