"""Prompt tuning: learned tokens that an encoder reads beside the item's own, which all stay."""

from typing import Any

import torch
from torch import Tensor, nn

from app.model.families import Part
from app.model.transrec import TextEncoder, insert_after_first


class VisualPrompts(nn.Module):
    """A ViT's embeddings with n learned tokens between [CLS] and patches: VPT-shallow, Jia et al. 2022."""

    def __init__(self, inner: nn.Module, tokens: nn.Parameter) -> None:
        super().__init__()
        self.inner, self.tokens = inner, tokens

    def __getattr__(self, name: str) -> Any:
        """Whatever else the encoder asks of its embeddings."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Hidden states (N, 1 + P, D) -> (N, 1 + n + P, D); what MAE answers beside them passes through."""
        answer = self.inner(*args, **kwargs)
        hidden: Tensor = answer[0] if isinstance(answer, tuple) else answer
        hidden = insert_after_first(hidden, self.tokens)
        return (hidden, *answer[1:]) if isinstance(answer, tuple) else hidden


def insert_words(encoder: TextEncoder, tokens: int) -> dict[str, nn.Parameter]:
    """Give a text encoder n learned words, first drawn from its vocabulary (Lester et al. 2021)."""
    words: nn.Embedding = encoder.encoder.embeddings.word_embeddings  # type: ignore[union-attr, assignment]
    encoder.prompt = nn.Parameter(
        words.weight.detach()[torch.randint(words.num_embeddings, (tokens,))].clone()
    )
    return {"item/prompt": encoder.prompt}


def insert_visual(part: Part, tokens: int) -> dict[str, nn.Parameter]:
    """Give a ViT learned tokens N(0, 0.02^2); returns them by site."""
    prompts = nn.Parameter(torch.empty(tokens, part.width).normal_(std=0.02))
    part.encoder.set_submodule("embeddings", VisualPrompts(part.encoder.get_submodule("embeddings"), prompts))
    return {"item/prompt": prompts}
