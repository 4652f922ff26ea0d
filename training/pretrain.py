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
from app.model.backbone import fresh, save_backbone
from app.model.encode import Progress
from app.model.inputs import TokenTable, tokenize
from app.model.transrec import Pooling, TransRec, TransRecConfig
from training.dataset import Corpus, build_corpus
from training.evaluate import evaluate_model
from training.fit import FitConfig, OnStep, Run
from training.sources import read_tsv
from training.towers import PooledTower, Tower, UpperTower, lower_states, pooled_states

RECIPES = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """A TOML file under training/recipes, or a path to one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    encoder: str
    pooling: Pooling
    sources: list[str] = Field(min_length=1)
    top_layers: int = Field(0, ge=0, description="item-encoder layers tuned in the second stage")
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
    """Train by the recipe on `data`, write the backbone to `out`, return its fingerprint."""
    config = TransRecConfig(pooling=recipe.pooling)
    torch.manual_seed(recipe.frozen.seed)
    model, tokenizer = fresh(recipe.encoder, config)
    model.requires_grad_(False)
    corpora = [_corpus(data, name, config) for name in recipe.sources]
    tables = [tokenize(tokenizer, c.texts.texts, config.max_tokens) for c in corpora]
    say(f"Sources: {', '.join(f'{c.name} ({len(c.windows)} users, {c.n_items} items)' for c in corpora)}")
    head = _head(model)
    towers: list[Tower] = [PooledTower(model, pooled_states(model, t, on_encode)) for t in tables]
    _stage("frozen encoder", model, head, corpora, towers, recipe.frozen, say, on_step)
    if recipe.top and recipe.top_layers:
        _tune_top(model, recipe, recipe.top, corpora, tables, say, on_step, on_encode)
    return save_backbone(out, recipe.name, recipe.encoder, model.eval())


def _tune_top(
    model: TransRec,
    recipe: Recipe,
    config: FitConfig,
    corpora: list[Corpus],
    tables: list[TokenTable],
    say: Callable[[str], None],
    on_step: OnStep | None,
    on_encode: Progress | None,
) -> None:
    layers = model.item_encoder.encoder.encoder.layer  # type: ignore[union-attr]
    first = len(layers) - recipe.top_layers  # type: ignore[arg-type]
    towers: list[Tower] = [
        UpperTower(model, lower_states(model, t, first, on_encode), t, first) for t in tables
    ]
    trainable = _head(model) | {f"encoder.{first}+.{k}": p for k, p in layers[first:].named_parameters()}  # type: ignore[index]
    rates = {k: recipe.top_learning_rate_encoder for k in trainable if k.startswith("encoder.")}
    _stage(f"top {recipe.top_layers} layers", model, trainable, corpora, towers, config, say, on_step, rates)


def _stage(
    title: str,
    model: TransRec,
    trainable: dict[str, nn.Parameter],
    corpora: list[Corpus],
    towers: list[Tower],
    config: FitConfig,
    say: Callable[[str], None],
    on_step: OnStep | None,
    rates: dict[str, float] | None = None,
) -> None:
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    run = Run(model, trainable, corpora, towers, config, rates)
    state = run.fit(on_step)
    for point in state.curve:
        say(f"{title}: {point}")
    for corpus, tower in zip(corpora, towers, strict=True):
        test = evaluate_model(model, corpus, "test", tower.catalogue()).overall
        say(f"{title}: {corpus.name} test HR@10 {test.hr10:.4f} NDCG@10 {test.ndcg10:.4f} (se {test.ndcg10_se:.4f})")


def _head(model: TransRec) -> dict[str, nn.Parameter]:
    parts = {"dtl": model.dtl, "user_encoder": model.user_encoder}
    return {f"{part}.{k}": p for part, m in parts.items() for k, p in m.named_parameters()}


def _corpus(data: Path, name: str, config: TransRecConfig) -> Corpus:
    source = read_tsv(data, name)
    return build_corpus(name, source.items, source.sequences, config.length)


