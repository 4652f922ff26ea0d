"""Pretraining: a recipe and source channels -> a backbone directory.

Stage `frozen` trains DTL and user encoder on cached encoder outputs; stage `top` then also tunes the
encoder's last layers, over cached states of the layers below. Each stage is one call of the common loop.
"""

import tomllib
from collections.abc import Callable
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


def pretrain(
    recipe: Recipe,
    data: Path,
    out: Path,
    say: Callable[[str], None],
    on_step: OnStep | None = None,
    on_encode: Progress | None = None,
) -> str:
    """Train by the recipe on `data`, write the backbone to `out`, return its fingerprint.

    An encoder named `directory:<path>` is looked for in `out`, where the backbone will look for it too.
    """
    config = TransRecConfig(pooling=recipe.pooling, image_size=recipe.image_size, length=recipe.length)
    torch.manual_seed(recipe.frozen.seed)
    model, reader = fresh(recipe.encoder, config, out)
    model.requires_grad_(False)
    _shrink_residuals(model, recipe.residual_scale)
    corpora = [_corpus(data, name, config) for name in recipe.sources]
    say(f"Sources: {', '.join(f'{c.name} ({len(c.windows)} users, {c.n_items} items)' for c in corpora)}")
    merged = merge(recipe.name, corpora)
    inputs = reader(merged.contents.distinct)
    head, pooled = _head(model), pooled_states(model, inputs, on_encode)
    _stage("frozen encoder", model, head, merged, PooledTower(model, pooled), recipe.frozen, say, on_step)
    if recipe.top and recipe.top_layers:
        _tune_top(model, recipe, recipe.top, merged, inputs, say, on_step, on_encode)
    for corpus in corpora:
        vectors = encode_items(model, reader(corpus.contents.distinct), on_encode)
        test = evaluate_model(model, corpus, "test", vectors).overall
        say(f"{corpus.name}: test HR@10 {test.hr10:.4f} ± {test.hr10_se:.4f}, NDCG@10 {test.ndcg10:.4f}")
    return save_backbone(out, recipe.name, recipe.encoder, model, out)


def _shrink_residuals(model: TransRec, scale: float) -> None:
    """Let the user encoder start near "the state is the last item": it trains faster and transfers better."""
    model.user_encoder.positions.weight.data.mul_(scale)
    for block in model.user_encoder.blocks:
        block.mha.out.weight.data.mul_(scale)  # type: ignore[union-attr, operator]
        block.ffn[2].weight.data.mul_(scale)  # type: ignore[union-attr, index]


def _tune_top(
    model: TransRec,
    recipe: Recipe,
    config: FitConfig,
    corpus: Corpus,
    inputs: Inputs,
    say: Callable[[str], None],
    on_step: OnStep | None,
    on_encode: Progress | None,
) -> None:
    layers = part(model, "item").layers
    first = len(layers) - recipe.top_layers
    tower = UpperTower(model, lower_states(model, inputs, first, on_encode), inputs)
    top = {f"encoder.{first}+.{k}": p for k, p in layers[first:].named_parameters()}
    rates = dict.fromkeys(top, recipe.top_learning_rate_encoder)
    title = f"top {recipe.top_layers} layers"
    _stage(title, model, _head(model) | top, corpus, tower, config, say, on_step, rates)


def _stage(
    title: str,
    model: TransRec,
    trainable: dict[str, nn.Parameter],
    corpus: Corpus,
    tower: Tower,
    config: FitConfig,
    say: Callable[[str], None],
    on_step: OnStep | None,
    rates: dict[str, float] | None = None,
) -> None:
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    state = Run(model, trainable, corpus, tower, config, rates).fit(on_step)
    for point in state.curve:
        figures = f"loss {point['loss']:.3f} validation HR@10 {point['hr10']:.4f}"
        say(f"{title}: epoch {point['epoch']:.0f} {figures}")


def _head(model: TransRec) -> dict[str, nn.Parameter]:
    parts = {"dtl": model.dtl, "user_encoder": model.user_encoder}
    return {f"{part}.{k}": p for part, m in parts.items() for k, p in m.named_parameters()}


def _corpus(data: Path, name: str, config: TransRecConfig) -> Corpus:
    if config.image_size is not None:
        images = read_images(data, name)
        return build_corpus(name, images.items, images.sequences, config.length)
    source = read_tsv(data, name)
    return build_corpus(name, source.items, source.sequences, config.length)
