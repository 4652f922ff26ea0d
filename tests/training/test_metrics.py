import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score, top_k_accuracy_score

from training.metrics import Metrics, expected_ranks, summarize


def metrics(scores: torch.Tensor, target: torch.Tensor) -> Metrics:
    return summarize(expected_ranks(scores, target).double().numpy())


def sklearn_ndcg(scores: torch.Tensor, target: torch.Tensor) -> float:
    """The gain averaged over every order of the tied items."""
    truth = torch.nn.functional.one_hot(target, scores.size(1))
    return float(ndcg_score(truth.numpy(), scores.numpy(), k=10, ignore_ties=False))


def tied(places: range, n_items: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """One user whose target shares these places (from 1) with others of equal score."""
    scores = -torch.arange(1.0, n_items + 1)
    scores[places.start - 1 : places.stop - 1] = scores[places.start - 1]
    return scores.unsqueeze(0), torch.tensor([places.start - 1])


def gain(rank: float) -> float:
    return 1 / math.log2(rank + 1)


def test_ties_stand_at_their_expected_rank() -> None:
    scores = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.0]])
    assert expected_ranks(scores, torch.tensor([0])).tolist() == [1.0]
    assert expected_ranks(scores, torch.tensor([1])).tolist() == [3.0]  # places 2, 3, 4
    assert expected_ranks(scores, torch.tensor([4])).tolist() == [5.0]


def test_excluded_items_do_not_count() -> None:
    scores = torch.tensor([[-torch.inf, 1.0, -torch.inf]])
    assert expected_ranks(scores, torch.tensor([1])).tolist() == [1.0]


@pytest.mark.parametrize("own", [-torch.inf, torch.nan])
def test_a_target_without_a_score_ranks_nowhere(own: float) -> None:
    scores = torch.tensor([[own, own, own, 1.0]])
    assert expected_ranks(scores, torch.tensor([0])).tolist() == [math.inf]
    assert metrics(scores, torch.tensor([0])).hr10 == 0


def test_hr_and_ndcg_by_hand() -> None:
    m = summarize(np.array([1.0, 10.0, 11.0, 500.0]))
    assert m.hr10 == 2 / 4
    assert m.ndcg10 == pytest.approx((1 + 1 / math.log2(11)) / 4)
    assert m.hr10_se == pytest.approx(0.5 / math.sqrt(3))


def test_without_ties_they_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 40, generator=generator)
    target = torch.randint(40, (200,), generator=generator)
    found = metrics(scores, target)
    assert 0 < found.hr10 < 1
    assert found.hr10 == top_k_accuracy_score(target, scores, k=10, labels=range(40))
    assert found.ndcg10 == pytest.approx(sklearn_ndcg(scores, target))


def test_ties_within_the_ten_give_the_same_hr_and_less_ndcg_than_the_expected_gain() -> None:
    """gain is convex, so the gain at the mean place is below the mean of the gains (Jensen)."""
    scores, target = tied(range(1, 4))
    assert metrics(scores, target).hr10 == 1
    assert metrics(scores, target).ndcg10 == pytest.approx(gain(2))  # .6309
    assert sklearn_ndcg(scores, target) == pytest.approx((gain(1) + gain(2) + gain(3)) / 3)  # .7103
    assert gain(2) < (gain(1) + gain(2) + gain(3)) / 3


@pytest.mark.parametrize(
    ("places", "rank", "expected_hr"),
    [(range(9, 12), 10, 2 / 3), (range(10, 12), 10.5, 1 / 2), (range(1, 41), 20.5, 10 / 40)],
)
def test_ties_across_the_tenth_place_are_hit_or_missed_as_one(
    places: range, rank: float, expected_hr: float
) -> None:
    """The expected gain would count the share of the tied places that lie within the ten."""
    scores, target = tied(places)
    hit = rank <= 10
    assert metrics(scores, target).hr10 == hit
    assert metrics(scores, target).ndcg10 == pytest.approx(gain(rank) if hit else 0)
    inside = [gain(place) for place in places if place <= 10]
    assert sklearn_ndcg(scores, target) == pytest.approx(sum(inside) / len(places))
    assert len(inside) / len(places) == pytest.approx(expected_hr)


def test_ties_below_the_ten_are_a_miss_either_way() -> None:
    scores, target = tied(range(11, 20))
    assert metrics(scores, target).hr10 == metrics(scores, target).ndcg10 == 0
    assert sklearn_ndcg(scores, target) == 0


def test_no_users_is_zero() -> None:
    assert summarize(np.array([])).users == 0
