from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from app.model.methods import AdapterConfig
from training.finetune import Subject, TrainingConfig, finetune
from training.fit import FitConfig, FitState, StepReport
from training.gate import gate

SMALL = AdapterConfig(bottleneck=8, user_bottleneck=8)


def config(**fit: object) -> TrainingConfig:
    asked = {"learning_rate": 5e-3, "batch_users": 16, "max_epochs": 4, "checkpoint_seconds": 0, **fit}
    return TrainingConfig(adapter=SMALL, fit=FitConfig.model_validate(asked))


class Memory:
    """Checkpoints that a test can look into; `stop_at` plays the crash, right after saving."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.kept: tuple[FitState, dict[str, Tensor]] | None = None
        self.saves, self.stop_at = 0, stop_at

    def load(self) -> tuple[FitState, dict[str, Tensor]] | None:
        return self.kept

    def save(self, state: FitState, tensors: dict[str, Tensor]) -> None:
        self.kept = (FitState(**asdict(state)), tensors)
        self.saves += 1
        if self.saves == self.stop_at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("objective", ["in_batch", "sasrec", "cpc"])
def test_training_learns_what_can_be_learned(on: Subject, objective: str) -> None:
    bare = on.backbone.model
    before = on.evaluate(bare, on.encode(bare), "test").overall
    trained = finetune(on, config(objective=objective, max_epochs=12, patience=12))
    after = on.evaluate(trained.model, trained.vectors, "test").overall
    curve = trained.state.curve
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert after.ndcg10 > max(before.ndcg10, on.popularity("test").overall.ndcg10)


def test_the_backbone_is_never_written(on: Subject) -> None:
    before = {k: v.clone() for k, v in on.backbone.model.state_dict().items()}
    finetune(on, config(max_epochs=1))
    assert all(torch.equal(v, before[k]) for k, v in on.backbone.model.state_dict().items())


@pytest.mark.parametrize(("stop_at", "residual"), [(1, False), (3, False), (5, True), (9, False)])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    on: Subject, stop_at: int, residual: bool
) -> None:
    asked = config()
    asked = asked.model_copy(update={"adapter": SMALL.model_copy(update={"item_residual": residual})})
    whole = finetune(on, asked)
    memory = Memory(stop_at)
    with pytest.raises(KeyboardInterrupt):
        finetune(on, asked, checkpoints=memory)
    memory.stop_at = None
    resumed = finetune(on, asked, checkpoints=memory)
    assert [(c["loss"], c["hr10"]) for c in whole.state.curve] == [
        (c["loss"], c["hr10"]) for c in resumed.state.curve
    ]
    assert all(torch.equal(whole.weights[k], resumed.weights[k]) for k in whole.weights)


def test_a_finished_run_is_not_trained_again(on: Subject) -> None:
    memory, steps = Memory(), list[StepReport]()
    finetune(on, config(), checkpoints=memory)
    finetune(on, config(), steps.append, memory)
    assert steps == []


def test_patience_time_and_progress(on: Subject) -> None:
    steps: list[StepReport] = []
    trained = finetune(on, config(max_epochs=50, patience=2, learning_rate=1e-6), steps.append)
    assert len(trained.state.curve) < 50
    assert steps[0].steps == 4
    assert [s.step for s in steps[:4]] == [1, 2, 3, 4]
    # The warm-up is a run of its own, with epochs of its own, and says so.
    warm = [s for s in steps if s.warming_up]
    assert steps[: len(warm)] == warm
    assert {s.max_epochs for s in warm} == {10}
    assert {s.max_epochs for s in steps[len(warm) :]} == {50}
    short = finetune(on, config(max_epochs=1000, patience=1000, max_seconds=0.5))
    assert short.state.seconds < 30


def test_gate(on: Subject) -> None:
    bare = on.backbone.model
    good, bad = on.popularity("validation"), on.evaluate(bare, on.encode(bare), "validation")
    if good.overall.hr10 < bad.overall.hr10:
        good, bad = bad, good
    assert gate(good, bad, good).passed
    refused = gate(bad, good, bad)
    assert not refused.passed
    assert "popularity" in refused.reason
    assert "the champion" in gate(bad, bad, good).reason
