import pytest

from app.core.errors import Invalid
from app.model.adapters import AdapterConfig
from app.model.counts import count_parameters

PUBLISHED = AdapterConfig(tune_dtl=False, popularity_prior=False)  # as in the paper
HOULSBY_ROWS: list[tuple[dict[str, object], int]] = [
    ({}, 2_426_816),
    ({"popularity_prior": True}, 2_426_817),
    ({"tune_dtl": True}, 2_426_816 + 49_216),
    ({"tune_layer_norm": False}, 2_387_776),
    ({"tune_layer_norm": False, "user_bottleneck": 0}, 2_379_264),
    ({"tune_layer_norm": False, "bottleneck": 0}, 8_512),
    ({"bottleneck": 0, "user_bottleneck": 0}, 39_040),
]


@pytest.mark.parametrize(("changes", "trainable"), HOULSBY_ROWS)
def test_exact_counts_on_bert_base(changes: dict[str, object], trainable: int) -> None:
    counts = count_parameters("bert-base", PUBLISHED.model_copy(update=changes))
    assert (counts["trainable"], counts["full"]) == (trainable, 109_041_728)


def test_roberta_in_full() -> None:
    assert count_parameters("roberta-base", AdapterConfig())["full"] == 124_205_120


def test_unknown_encoder_names_the_known_ones() -> None:
    with pytest.raises(Invalid, match="bert-base"):
        count_parameters("no-such-encoder", AdapterConfig())
