import numpy as np
import torch

from app.model.encode import encode_items
from app.model.inputs import TokenTable
from training.finetune import Subject
from training.towers import ContentTower, PooledTower, Tower, UpperTower, lower_states, pooled_states


def test_every_tower_gives_the_vectors_that_serving_encodes(on: Subject) -> None:
    model, tokens = on.backbone.model, on.inputs
    assert isinstance(tokens, TokenTable)
    plain = encode_items(model, tokens)
    towers: list[Tower] = [
        ContentTower(model, tokens),
        PooledTower(model, pooled_states(model, tokens)),
        UpperTower(model, lower_states(model, tokens, 1), tokens, 1),
    ]
    rows = np.array([5, 0, 17, 3])
    for tower in towers:
        # bf16 in the encoder, where the CPU has it, and in the cached states
        np.testing.assert_allclose(tower.catalogue(), plain, atol=0.05)
        with torch.no_grad():
            np.testing.assert_allclose(tower(rows).numpy(), plain[rows], atol=0.05)
