from typing import Any

import pytest

from app.core.errors import Invalid
from app.model.counts import count_parameters, paper_table
from app.model.methods import METHODS, AdapterConfig, asked_for, published

# Fu et al. 2024, tables 3 to 5; where the paper is silent, computed from its structures.
ROWS: list[tuple[str, dict[str, Any], int]] = [
    ("houlsby", {}, 2_426_816),
    ("pfeiffer", {}, 1_232_928),
    ("ffn", {}, 1_232_928),
    ("mha++", {}, 2_417_472),
    ("ffn++", {}, 2_417_472),
    ("compacter", {}, 99_968),
    ("k_adapter", {}, 9_479_456),
    ("layer_norm", {}, 39_040),
    ("houlsby", {"tune_layer_norm": False}, 2_387_776),
    ("houlsby", {"tune_layer_norm": False, "encoders": "item"}, 2_379_264),
    ("houlsby", {"tune_layer_norm": False, "encoders": "user"}, 8_512),
]
FULL = {"bert-base": 109_041_728, "vit-base": 85_948_096, "roberta-base": 124_205_120}


@pytest.mark.parametrize("encoder", ["bert-base", "vit-base"])
@pytest.mark.parametrize(("method", "knobs", "trainable"), ROWS)
def test_the_papers_counts(encoder: str, method: str, knobs: dict[str, Any], trainable: int) -> None:
    counts = count_parameters(encoder, published(method, **knobs))
    assert (counts["trainable"], counts["full"]) == (trainable, FULL[encoder])


@pytest.mark.parametrize(
    ("encoder", "method", "trainable"),
    [("bert-base", "prompt", 30_720), ("vit-base", "vpt", 56_896), *((e, "fta", n) for e, n in FULL.items())],
)
def test_counts_that_depend_on_the_encoder(encoder: str, method: str, trainable: int) -> None:
    assert count_parameters(encoder, published(method))["trainable"] == trainable


def test_our_defaults_add_the_dtl_and_the_prior() -> None:
    assert count_parameters("bert-base", AdapterConfig())["trainable"] == 2_426_816 + 49_216 + 1


def test_the_table_has_both_shares() -> None:
    rows = {row["name"]: row for row in paper_table()}
    houlsby = rows["Houlsby"]
    shares = [round(houlsby[encoder]["share"], 4) for encoder in ("bert-base", "vit-base")]
    assert shares == [0.0223, 0.0282]
    assert rows["VPT (image)"]["bert-base"] is None
    assert rows["prompt tuning (text)"]["vit-base"] is None


def test_unknown_encoder_names_the_known_ones() -> None:
    with pytest.raises(Invalid, match="bert-base"):
        count_parameters("no-such-encoder", AdapterConfig())


@pytest.mark.parametrize(
    ("method", "knobs", "says"),
    [
        ("k_adapter", {"position": "mha"}, "position does not apply to k_adapter.*houlsby, pfeiffer"),
        ("pfeiffer", {"position": "ffn"}, "pfeiffer has position=mha. For ffn use: ffn"),
        ("prompt", {"bottleneck": 8}, "whose knobs are: tokens"),
        ("nothing", {}, "houlsby"),
        ("houlsby", {"bottleneck": 0}, "set encoders to user"),
        ("houlsby", {"placement": "after_norm"}, "encoders=item"),
        ("houlsby", {"placement": "sideways"}, "'serial', 'parallel' or 'after_norm'"),
        ("compacter", {"bottleneck": 6}, "4 divides"),
        ("k_adapter", {"bottleneck": 100}, "multiples of 32; 100 is not"),
        ("k_adapter", {"user_bottleneck": 17}, "17 is not"),
        ("lora", {"rank": 0}, "greater than or equal to 1"),
        ("houlsby", {"colour": "red"}, "colour"),
    ],
)
def test_what_is_impossible_names_what_is_possible(method: str, knobs: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        asked_for(method, knobs)


def test_a_config_survives_json() -> None:
    for method in METHODS:
        for config in (published(method), AdapterConfig.model_validate({"method": method})):
            assert AdapterConfig.model_validate_json(config.model_dump_json(exclude_none=True)) == config
