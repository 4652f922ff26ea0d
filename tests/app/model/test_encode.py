import numpy as np
import pytest
import torch

from app.model.backbone import Backbone
from app.model.encode import encode_histories, encode_items, pad_histories, popularity_bias, prior_of
from app.model.inputs import TokenTable, distinct_contents

TEXTS = [f"thing number {'x' * n}" for n in range(12)]


def texts(backbone: Backbone, which: list[str]) -> TokenTable:
    inputs = backbone.inputs(which)
    assert isinstance(inputs, TokenTable)
    return inputs


def test_a_batch_is_its_rows_one_by_one(backbone: Backbone) -> None:
    together = encode_items(backbone.model, backbone.inputs(TEXTS))
    alone = [encode_items(backbone.model, backbone.inputs([text]))[0] for text in TEXTS]
    np.testing.assert_allclose(together, np.stack(alone), atol=0.05)  # bf16 where the CPU has it


def test_buckets_hold_every_row_once_and_bound_the_padding(backbone: Backbone) -> None:
    tokens = texts(backbone, TEXTS)
    rows = np.array([3, 1, 11, 7])
    parts = list(tokens.buckets(rows, max_tokens=20))
    assert sorted(np.concatenate(parts).tolist()) == [0, 1, 2, 3]
    assert all(len(p) == 1 or tokens.lengths[rows[p]].max() * len(p) <= 20 for p in parts)


def test_texts_are_cut_and_lower_cased(backbone: Backbone) -> None:
    tokens = texts(backbone, ["A " * 100, "a " * 100])
    assert tokens.lengths.tolist() == [30, 30]
    ids, _ = tokens.batch(np.array([0, 1]))
    assert torch.equal(ids[0], ids[1])


def test_items_with_one_text_share_one_vector() -> None:
    unique = distinct_contents(["a", "b", "a"])
    assert (unique.distinct, unique.of_item.tolist()) == (["a", "b"], [0, 1, 0])


def test_histories_are_padded_on_the_left_and_cut_to_the_newest() -> None:
    rows, real = pad_histories([[1, 2], [], list(range(30))], 20)
    assert rows[0, -2:].tolist() == [1, 2]
    assert real.sum(1).tolist() == [2, 0, 20]
    assert rows[2].tolist() == list(range(10, 30))


def test_a_user_alone_and_in_a_batch(backbone: Backbone) -> None:
    vectors = torch.randn(9, 64, generator=torch.Generator().manual_seed(0))
    histories = [[1, 2, 3], [4], [5, 6, 7, 8, 0]]
    together = encode_histories(backbone.model, vectors, histories)
    for row, history in zip(together, histories, strict=True):
        np.testing.assert_allclose(row, encode_histories(backbone.model, vectors, [history])[0], atol=1e-5)


def test_a_backbone_has_no_popularity_bias(backbone: Backbone) -> None:
    assert popularity_bias(prior_of(backbone.model), np.array([0, 5])).tolist() == pytest.approx([0, 0])
