"""Pretraining: a recipe and source channels -> a backbone directory.

Stage `frozen` trains DTL and user encoder on cached encoder outputs; stage `top` then also tunes the
encoder's last layers, over cached states of the layers below. Each stage is one call of the common loop, with
batches of one source each; it goes on from its checkpoint, and processes that torchrun starts share the work.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from app.core.errors import Invalid
from app.model.adapters import part
from app.model.backbone import fresh, save_backbone
from app.model.encode import Progress, encode_items
from app.model.inputs import Inputs
from app.model.transrec import Pooling, TransRec, TransRecConfig
from training import distributed
from training.checkpoints import FileCheckpoints
from training.dataset import Corpus, build_corpus, merge
from training.evaluate import evaluate_model
from training.fit import FitConfig, OnStep, Run
from training.sources import read_images, read_tsv
from training.towers import PooledTower, Tower, UpperTower, lower_states, pooled_states

RECIPES = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """A TOML file under training/recipes, or a path to one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    encoder: str
    pooling: Pooling
    sources: list[str] = Field(min_length=1)
    image_size: tuple[int, int] | None = Field(
        None, description="height and width in pixels; for image sources"
    )
    length: int = Field(20, ge=2, description="positions of the user encoder")
    prior: float | None = Field(
        None, ge=0, description="weight of the popularity prior with which the bare backbone answers"
    )
    top_layers: int = Field(0, ge=0, description="item-encoder layers tuned in the second stage")
    residual_scale: float = Field(0.1, gt=0, le=1, description="first size of the user encoder's residuals")
    top_learning_rate_encoder: float = Field(5e-5, gt=0)
    frozen: FitConfig
    top: FitConfig | None = None


def read_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or a file."""
    path = RECIPES / f"{name_or_path}.toml"
    path = path if path.is_file() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise Invalid(f"No recipe '{name_or_path}'. Name a TOML file or one of: {known}.")
    return Recipe.model_validate(tomllib.loads(path.read_text()))


@dataclass(frozen=True)
class Watch:
    """Who looks on."""

    say: Callable[[str], None]
    on_step: OnStep | None = None
    on_encode: Progress | None = None


def pretrain(
    recipe: Recipe, data: Path, out: Path, watch: Watch, device: torch.device | None = None
) -> str | None:
    """Train by the recipe on `data`, write the backbone to `out`, return its fingerprint.

    An encoder named `directory:<path>` is looked for in `out`, where the backbone will look for it too. What
    is interrupted goes on from `out`/checkpoint. Of several processes the first one writes; the others return
    None.
    """
    torch.manual_seed(recipe.frozen.seed)
    model, reader = fresh(recipe.encoder, _config(recipe), out)
    model.requires_grad_(False).to(device or torch.device("cpu"))
    _shrink_residuals(model, recipe.residual_scale)
    corpora = [_corpus(data, name, model.config) for name in recipe.sources]
    watch.say(
        f"Sources: {', '.join(f'{c.name} ({len(c.windows)} users, {c.n_items} items)' for c in corpora)}"
    )
    merged = merge(recipe.name, corpora, apart=True)
    _train(model, recipe, merged, reader(merged.contents.distinct), out, watch)
    if not distributed.first():
        return None
    if recipe.prior is not None:  # after training, which would choose one for the sources
        model.config = replace(model.config, prior=recipe.prior)
        model.prior = nn.Parameter(torch.full((1,), recipe.prior), requires_grad=False)
    for corpus in corpora:
        vectors = encode_items(model, reader(corpus.contents.distinct), watch.on_encode)
        test = evaluate_model(model, corpus, "test", vectors).overall
        watch.say(
            f"{corpus.name}: test HR@10 {test.hr10:.4f} ± {test.hr10_se:.4f}, NDCG@10 {test.ndcg10:.4f}"
        )
    fingerprint = save_backbone(out, recipe.name, recipe.encoder, model, out)
    for stage in ("frozen", "top"):
        FileCheckpoints(_checkpoint(out, stage)).remove()
    return fingerprint


def _train(model: TransRec, recipe: Recipe, corpus: Corpus, inputs: Inputs, out: Path, watch: Watch) -> None:
    head = _head(model)
    tower: Tower = PooledTower(model, pooled_states(model, inputs, watch.on_encode))
    _stage("frozen", model, head, corpus, tower, recipe.frozen, out, watch)
    if not recipe.top or not recipe.top_layers:
        return
    layers = part(model, "item").layers
    first = len(layers) - recipe.top_layers
    top = {f"encoder.{first}+.{k}": p for k, p in layers[first:].named_parameters()}
    tower = UpperTower(model, lower_states(model, inputs, first, watch.on_encode), inputs, watch.on_encode)
    rates = dict.fromkeys(top, recipe.top_learning_rate_encoder)
    _stage("top", model, head | top, corpus, tower, recipe.top, out, watch, rates)


def _stage(
    name: str,
    model: TransRec,
    trainable: dict[str, nn.Parameter],
    corpus: Corpus,
    tower: Tower,
    config: FitConfig,
    out: Path,
    watch: Watch,
    rates: dict[str, float] | None = None,
) -> None:
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    run = Run(model, trainable, corpus, tower, config, rates)
    state = run.fit(watch.on_step, FileCheckpoints(_checkpoint(out, name)))
    for point in state.curve:
        figures = (
            f"loss {point['loss']:.3f} validation HR@10 {point['hr10']:.4f} NDCG@10 {point['ndcg10']:.4f}"
        )
        watch.say(f"{name}: epoch {point['epoch'] + 1:.0f}, {point['seconds']:.0f} s, {figures}")


def _checkpoint(out: Path, stage: str) -> Path:
    return out / "checkpoint" / f"{stage}.safetensors"


def _config(recipe: Recipe) -> TransRecConfig:
    return TransRecConfig(pooling=recipe.pooling, image_size=recipe.image_size, length=recipe.length)


def _shrink_residuals(model: TransRec, scale: float) -> None:
    """Let the user encoder start near "the state is the last item": it trains faster and transfers better."""
    model.user_encoder.positions.weight.data.mul_(scale)
    for block in model.user_encoder.blocks:
        block.mha.out.weight.data.mul_(scale)  # type: ignore[union-attr, operator]
        block.ffn[2].weight.data.mul_(scale)  # type: ignore[union-attr, index]


def _head(model: TransRec) -> dict[str, nn.Parameter]:
    parts = {"dtl": model.dtl, "user_encoder": model.user_encoder}
    return {f"{part}.{k}": p for part, m in parts.items() for k, p in m.named_parameters()}


def _corpus(data: Path, name: str, config: TransRecConfig) -> Corpus:
    if config.image_size is not None:
        images = read_images(data, name)
        return build_corpus(name, images.items, images.sequences, config.length)
    source = read_tsv(data, name)
    return build_corpus(name, source.items, source.sequences, config.length)
