"""Every method learns, in its own tensors only, on texts and on images."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.model.backbone import Backbone
from app.model.methods import METHODS, AdapterConfig
from tests.fakes import picture
from tests.training.conftest import chains
from training.dataset import build_corpus, make_batch
from training.finetune import METHOD_RATES, Subject, TrainingConfig, finetune, subject
from training.fit import FitConfig, Run
from training.towers import ContentTower

NARROW = {"bottleneck": 8, "user_bottleneck": 8, "rank": 4, "tokens": 4}


@pytest.fixture(scope="session")
def on_images(image_backbone: Backbone) -> Subject:
    """The chains, each thing a picture."""
    items, sequences = chains()
    return subject(
        image_backbone, build_corpus("pictures", {i: picture(int(i[1:])) for i in items}, sequences, 10)
    )


def config(method: str, **fit: Any) -> TrainingConfig:
    knobs = {k: v for k, v in NARROW.items() if k in METHODS[method].knobs}
    asked = {"batch_users": 16, "max_epochs": 5, "patience": 5, "checkpoint_seconds": 0, **fit}
    adapter = AdapterConfig.model_validate({"method": method, "popularity_prior": False, **knobs})
    return TrainingConfig(adapter=adapter, fit=FitConfig.model_validate(asked), warmup_epochs=2)


@pytest.mark.parametrize(
    ("method", "modality"),
    [(m, kind) for m, spec in METHODS.items() for kind in ("text", "image") if spec.modality in (None, kind)],
)
def test_every_method_learns(request: pytest.FixtureRequest, method: str, modality: str) -> None:
    on: Subject = request.getfixturevalue("on" if modality == "text" else "on_images")
    before = {k: v.clone() for k, v in on.backbone.model.state_dict().items()}
    trained = finetune(on, config(method, learning_rate=5e-3))
    losses = [point["loss"] for point in trained.state.curve]
    assert losses[-1] < losses[0]
    assert all(v.equal(before[k]) for k, v in on.backbone.model.state_dict().items())


def test_a_method_brings_its_own_learning_rate(on: Subject) -> None:
    runs = [
        finetune(on, config("fta", max_epochs=1, **rate)).weights["dtl/weight"]
        for rate in ({}, {"learning_rate": METHOD_RATES["fta"]}, {"learning_rate": 1e-3})
    ]
    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])


def test_the_item_encoder_may_have_a_rate_of_its_own(on: Subject) -> None:
    common, own = (
        finetune(on, config("houlsby", max_epochs=1, **rate)).weights["item/L00/ffn/up.weight"]
        for rate in ({}, {"item_learning_rate": 1e-6})
    )
    assert common.abs().max() > 10 * own.abs().max() > 0


@pytest.mark.parametrize("objective", ["sasrec", "cpc"])
def test_the_loss_of_a_batch_is_the_formulas(
    on: Subject, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eq. 6 of the paper, user by user and position by position; CPC has the last position only."""
    monkeypatch.setattr(
        "app.model.device.has_fast_bf16", lambda _: False
    )  # batches of other sizes round otherwise
    model = on.backbone.model
    fit = FitConfig.model_validate({"objective": objective, "batch_users": 8})
    run = Run(model, dict(model.dtl.named_parameters()), on.corpus, ContentTower(model, on.inputs), fit)
    users = np.arange(8)
    batch = make_batch(on.corpus, users)
    negatives = run.negatives(batch)  # the run draws the same ones again
    vectors = torch.from_numpy(on.encode(model))[torch.from_numpy(on.corpus.contents.of_item)]
    terms: list[torch.Tensor] = []
    for user, drawn in zip(users, negatives, strict=True):
        window = on.corpus.train(int(user))
        seen, length = vectors[window[:-1]], model.config.length
        padded = torch.cat([torch.zeros(length - len(seen), model.config.dim), seen])
        real = torch.arange(length) >= length - len(seen)
        states = model.users(padded[None], real[None])[0, real]
        drawn = drawn[-len(states) :]
        loss = -F.logsigmoid((states * vectors[window[1:]]).sum(1))
        loss -= F.logsigmoid(-(states * vectors[drawn]).sum(1))
        terms += [loss if objective == "sasrec" else loss[-1:]]
    assert float(run.loss(batch)) == pytest.approx(float(torch.cat(terms).mean()), rel=1e-4)


def test_a_pool_of_negatives_holds_nothing_of_the_user(on: Subject) -> None:
    model = on.backbone.model
    fit = FitConfig(objective="sasrec", negative_pool=4, batch_users=16)
    run = Run(model, dict(model.dtl.named_parameters()), on.corpus, ContentTower(model, on.inputs), fit)
    users = np.arange(16)
    batch = make_batch(on.corpus, users)
    drawn = run.negatives(batch)
    for user, negatives, real in zip(users, drawn, batch.real, strict=True):
        assert not np.isin(negatives[real], on.corpus.train(int(user))).any()
    assert len(np.unique(drawn[batch.real])) < on.corpus.n_items
