"""TransRec: item encoder -> DTL -> causal user encoder (Fu et al., WSDM 2024, section 2.1).

Shapes: B users, L positions, N items, T tokens, D encoder width, d = 64 model width, H heads.
Sequences are left-padded, so the newest item always sits at position L - 1.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.model.residual import Residual

Pooling = Literal["cls", "mean"]


@dataclass(frozen=True)
class TransRecConfig:
    """Sizes of everything behind the item encoder; `pooling` is how that encoder was trained."""

    pooling: Pooling = "cls"
    dim: int = 64
    length: int = 20
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.1
    max_tokens: int = 30
    image_size: tuple[int, int] | None = None  # (height, width) in pixels; None for texts
    prior: float | None = None  # weight of the popularity prior of a bare backbone

    def as_dict(self) -> dict[str, Any]:
        """What is set, as plain JSON values."""
        return {k: v for k, v in asdict(self).items() if v is not None}


class TextEncoder(nn.Module):
    """A pretrained text encoder and its pooling: tokens (N, T) -> (N, D)."""

    def __init__(self, encoder: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        # (n, D) learned word embeddings of prompt tuning, or (N, n, D) where each item has its own.
        self.prompt: nn.Parameter | None
        self.register_parameter("prompt", None)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Encode tokens (N, T) int64 under mask (N, T) bool, True where a token is real."""
        if self.prompt is None:
            hidden = self.encoder(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state
            return pool(hidden, mask, self.pooling)
        n = self.prompt.size(-2)
        words = insert_after_first(self.encoder.embeddings.word_embeddings(input_ids), self.prompt)  # type: ignore[union-attr, operator]
        longer = torch.cat([mask[:, :1].expand(-1, 1 + n), mask[:, 1:]], dim=1)  # (N, T + n)
        hidden = self.encoder(inputs_embeds=words, attention_mask=longer.long()).last_hidden_state
        return pool(torch.cat([hidden[:, :1], hidden[:, 1 + n :]], dim=1), mask, self.pooling)

    def below(self, layers: nn.ModuleList, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens through the embeddings and the lowest `layers` -> hidden states (N, T, D)."""
        hidden: Tensor = self.encoder.embeddings(input_ids=input_ids)  # type: ignore[operator]
        for layer in layers:
            hidden = layer(hidden, mask[:, None, None, :])
        return hidden

    def above(self, layers: nn.ModuleList, hidden: Tensor, mask: Tensor) -> Tensor:
        """Hidden states below the topmost `layers` -> (N, D): with `below`, the same as `forward`."""
        for layer in layers:
            hidden = layer(hidden, mask[:, None, None, :])
        return pool(hidden, mask, self.pooling)


class ImageEncoder(nn.Module):
    """A pretrained vision transformer: pixels (N, 3, H, W) -> (N, D), its [CLS] after the final LayerNorm."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalised float pixels of any size that the patches divide."""
        return self.encoder(pixel_values=pixels, **self._options(pixels)).last_hidden_state[:, 0]  # type: ignore[no-any-return]

    def below(self, layers: nn.ModuleList, pixels: Tensor) -> Tensor:
        """Pixels through the embeddings and the lowest `layers` -> hidden states (N, T, D)."""
        embedded = self.encoder.embeddings(pixels, **self._options(pixels))  # type: ignore[operator]
        hidden: Tensor = embedded[0] if isinstance(embedded, tuple) else embedded
        for layer in layers:
            hidden = layer(hidden, None)
        return hidden

    def above(self, layers: nn.ModuleList, hidden: Tensor, _: Tensor) -> Tensor:
        """Hidden states below the topmost `layers` -> (N, D): with `below`, the same as `forward`."""
        for layer in layers:
            hidden = layer(hidden, None)
        return self.encoder.layernorm(hidden)[:, 0]  # type: ignore[operator, no-any-return]

    def _options(self, pixels: Tensor) -> dict[str, Any]:
        config: Any = self.encoder.config
        options: dict[str, Any] = {}
        if config.model_type != "dinov2":  # which always fits its position embeddings to the size
            options["interpolate_pos_encoding"] = pixels.shape[-2:] != (config.image_size,) * 2
        if config.model_type == "vit_mae":  # MAE shuffles the patches by this noise: keep them in order
            patches = pixels.shape[-2] * pixels.shape[-1] // config.patch_size**2
            options["noise"] = torch.arange(patches, device=pixels.device).float().expand(len(pixels), -1)
        return options


def insert_after_first(hidden: Tensor, tokens: Tensor) -> Tensor:
    """(N, T, D) and (n, D) or (N, n, D) -> (N, T + n, D): the tokens stand after position 0."""
    return torch.cat([hidden[:, :1], tokens.expand(len(hidden), -1, -1).to(hidden.dtype), hidden[:, 1:]], 1)


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """(N, T, D) -> (N, D): the first position, or the mean over the real ones."""
    if pooling == "cls":
        return hidden[:, 0]
    weight = mask.unsqueeze(-1).to(hidden.dtype)  # (N, T, 1)
    return (hidden * weight).sum(1) / weight.sum(1).clamp_min(1)


class SelfAttention(nn.Module):
    """Multi-head attention without biases; (B, L, d) -> (B, L, d)."""

    def __init__(self, config: TransRecConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.query, self.key, self.value, self.out = (
            nn.Linear(config.dim, config.dim, bias=False) for _ in range(4)
        )
        self.out_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, seen: Tensor | None = None) -> Tensor:
        """Attend where `mask` (B, 1, L, S) bool is True; everywhere without one.

        Keys and values are those of `seen` (B, S, d): x itself where it is not given.
        """
        b, length, d = x.size()
        seen = x if seen is None else seen
        q, k, v = (
            f(of).view(b, -1, self.heads, d // self.heads).transpose(1, 2)  # (B, H, L or S, d/H)
            for f, of in ((self.query, x), (self.key, seen), (self.value, seen))
        )
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.out_dropout(self.out(y.transpose(1, 2).reshape(b, length, d)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """One post-LayerNorm block. Adapters attach to `mha` and `ffn`, which end with their dropout."""

    def __init__(self, config: TransRecConfig) -> None:
        super().__init__()
        self.mha = SelfAttention(config)
        self.mha_norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, 4 * config.dim),
            nn.ReLU(),
            nn.Linear(4 * config.dim, config.dim),
            nn.Dropout(config.dropout),
        )
        self.ffn_norm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        x = self.mha_norm(x + self.mha(x, mask))
        return self.ffn_norm(x + self.ffn(x))  # type: ignore[no-any-return]


def newest(block: Any, x: Tensor, mask: Tensor) -> Tensor:
    """What `block` answers of x (B, L, d) at position L - 1: (B, 1, d). Keys and values need all of x."""
    last = x[:, -1:]
    last = block.mha_norm(last + block.mha(last, mask[:, :, -1:], x))
    return block.ffn_norm(last + block.ffn(last))  # type: ignore[no-any-return]


class UserEncoder(nn.Module):
    """Item vectors of a history -> one user state a position; 100,864 parameters at L = 20."""

    def __init__(self, config: TransRecConfig) -> None:
        super().__init__()
        self.positions = nn.Embedding(config.length, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.apply(init_xavier)

    def forward(self, e: Tensor, real: Tensor) -> Tensor:
        """(B, L, d) item vectors, (B, L) bool `real` -> (B, L, d) states; position t sees only <= t."""
        x: Tensor = self.dropout(self.norm(e + self.positions.weight))
        mask = attention_mask(real)
        for block in self.blocks:
            x = block(x, mask)
        return x


def attention_mask(real: Tensor) -> Tensor:
    """(B, L) bool -> (B, 1, L, L): causal and key is real. A padding query sees itself, to stay finite."""
    length = real.size(1)
    causal = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=real.device)
    return ((causal & real.unsqueeze(1)) | itself).unsqueeze(1)


class TransRec(nn.Module):
    """The whole model: `items` encodes content, `users` encodes histories of encoded items."""

    def __init__(self, encoder: nn.Module, config: TransRecConfig) -> None:
        super().__init__()
        self.config = config
        text = config.image_size is None
        self.item_encoder = TextEncoder(encoder, config.pooling) if text else ImageEncoder(encoder)
        self.dtl = nn.Linear(self.width, config.dim)
        init_xavier(self.dtl)
        self.user_encoder = UserEncoder(config)
        # (1,) weight of the popularity prior; a channel's own model has its own or none, see adapters.py.
        self.prior: nn.Parameter | None
        prior = None if config.prior is None else nn.Parameter(torch.tensor([float(config.prior)]))
        self.register_parameter("prior", prior)
        # What it has learned of single items; only a channel's own model has any.
        self.residual: Residual | None = None
        # What a channel owns, by site; empty in a backbone.
        self.adapter: dict[str, nn.Parameter] = {}

    @property
    def width(self) -> int:
        """D, the item encoder's hidden size."""
        return int(self.item_encoder.encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def prompt_tokens(self) -> int:
        """Learned tokens that the item encoder reads beside each content's own."""
        return len(self.adapter["item/prompt"]) if "item/prompt" in self.adapter else 0

    def project(self, pooled: Tensor) -> Tensor:
        """DTL, eq. 2: (N, D) -> (N, d)."""
        projected: Tensor = self.dtl(pooled)
        return F.gelu(projected)

    def items(self, *inputs: Tensor) -> Tensor:
        """What `Inputs.batch` gives of N items -> item vectors (N, d)."""
        return self.project(self.item_encoder(*inputs))

    def users(self, e: Tensor, real: Tensor) -> Tensor:
        """Item vectors (B, L, d) and (B, L) bool -> user states (B, L, d); score = state . item."""
        return self.user_encoder(e, real)  # type: ignore[no-any-return]


def init_xavier(module: nn.Module) -> None:
    """xavier_normal on a Linear's or Embedding's weight, zero on its bias."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
