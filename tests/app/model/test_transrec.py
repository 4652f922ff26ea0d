import pytest
import torch

from app.model.transrec import TransRecConfig, UserEncoder, attention_mask, pool


@pytest.fixture
def encoder() -> UserEncoder:
    torch.manual_seed(0)
    return UserEncoder(TransRecConfig()).eval()


def test_user_encoder_has_the_published_number_of_parameters() -> None:
    for length, expected in ((20, 100_864), (10, 100_224)):
        encoder = UserEncoder(TransRecConfig(length=length))
        assert sum(p.numel() for p in encoder.parameters()) == expected


def test_a_later_item_never_changes_an_earlier_position(encoder: UserEncoder) -> None:
    e, real = torch.randn(3, 20, 64), torch.ones(3, 20, dtype=torch.bool)
    changed = e.clone()
    changed[:, 12:] = torch.randn(3, 8, 64)
    before, after = encoder(e, real), encoder(changed, real)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_what_stands_in_the_padding_changes_nothing(encoder: UserEncoder) -> None:
    e, real = torch.randn(2, 20, 64), torch.ones(2, 20, dtype=torch.bool)
    real[:, :15] = False
    other = e.clone()
    other[:, :15] = 1e3 * torch.randn(2, 15, 64)
    torch.testing.assert_close(encoder(e, real)[:, 15:], encoder(other, real)[:, 15:], rtol=0, atol=0)


def test_all_padding_stays_finite(encoder: UserEncoder) -> None:
    assert torch.isfinite(encoder(torch.zeros(1, 20, 64), torch.zeros(1, 20, dtype=torch.bool))).all()


def test_mask_is_causal_and_hides_padding() -> None:
    mask = attention_mask(torch.tensor([[False, True, True]]))[0, 0]
    assert mask.tolist() == [[True, False, False], [False, True, False], [False, True, True]]


def test_pooling() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    mask = torch.tensor([[True, True, False]])
    assert pool(hidden, mask, "cls").tolist() == [[1.0]]
    assert pool(hidden, mask, "mean").tolist() == [[2.0]]
