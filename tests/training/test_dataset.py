import numpy as np
import pytest

from app.core.errors import Invalid
from training.dataset import Corpus, build_corpus, epoch_batches, make_batch, merge, steps_per_epoch


def corpus(users: int = 30, length: int = 20) -> Corpus:
    items = {f"i{n}": f"text {n % 10}" for n in range(40)}
    sequences = {f"u{u}": [f"i{(u + k) % 40}" for k in range(5 + u)] for u in range(users)}
    return build_corpus("c", items, sequences, length)


def test_leave_one_out_of_the_last_l_plus_3() -> None:
    c = corpus()
    window = c.windows[29]  # 34 interactions, the last 23 are kept
    assert len(window) == 23
    assert len(c.train(29)) == 21
    assert c.targets("validation")[29] == window[-2]
    assert c.targets("test")[29] == window[-1]
    assert c.history(29, "validation").tolist() == window[:-2].tolist()
    assert c.history(29, "test").tolist() == window[:-1].tolist()


def test_training_counts_see_neither_validation_nor_test() -> None:
    c = corpus(users=20)
    assert c.train_counts().sum() == sum(len(w) - 2 for w in c.windows)


def test_too_little_data_names_the_numbers_it_needs() -> None:
    with pytest.raises(Invalid, match="3 user") as caught:
        corpus(users=3)
    assert caught.value.extra == {"users": 3, "users_needed": 20, "interactions_per_user_needed": 5}


def test_a_batch_gives_each_position_its_next_item() -> None:
    c = corpus()
    batch = make_batch(c, np.array([0, 10]))
    for i, user in enumerate((0, 10)):
        train = c.train(user)
        assert batch.items[batch.rows[i][batch.real[i]]].tolist() == train[:-1].tolist()
        assert batch.items[batch.target[i][batch.real[i]]].tolist() == train[1:].tolist()
        assert batch.real[i, -1]


def test_an_epoch_is_every_user_once_in_an_order_fixed_by_its_number() -> None:
    c = corpus(30)
    first = list(epoch_batches(c, 8, seed=1, epoch=0))
    again = list(epoch_batches(c, 8, seed=1, epoch=0))
    other = list(epoch_batches(c, 8, seed=1, epoch=1))
    assert len(first) == steps_per_epoch(c, 8) == 4
    assert sum(len(b.rows) for b in first) == 30
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a.rows, b.rows) for a, b in zip(first, other, strict=True))


def test_merged_channels_keep_their_users_items_and_texts() -> None:
    one, two = corpus(30), corpus(25)
    both = merge("both", [one, two])
    assert len(both.windows) == 55
    assert both.n_items == one.n_items + two.n_items
    assert (both.windows[30] - one.n_items).tolist() == two.windows[0].tolist()
    assert (
        both.contents.distinct[both.contents.of_item[one.n_items]]
        == two.contents.distinct[two.contents.of_item[0]]
    )
