"""Where things are: one uniform view of BERT, RoBERTa, ViT, ViT-MAE, DINOv2 and our user encoder.

The only file that knows the module paths of transformers. Everything else speaks of *sites*:
`item/L03/mha/ln.weight` is the weight of the LayerNorm of the attention sublayer of the item encoder's
fourth layer, in every family.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from app.core.errors import Invalid
from app.core.names import Modality

PartName = Literal["item", "user"]


@dataclass(frozen=True)
class Family:
    """An architecture. `#` stands for the layer's number in paths and for L00, L01... in sites."""

    modality: Modality
    layers: str  # path of the list of layers
    outputs: Mapping[str, str]  # sublayer -> the module in a layer whose output a bottleneck changes
    post_norm: bool  # that module also adds the residual and normalises (BERT): (y, x) -> LN(dense(y) + x)
    names: Mapping[str, str]  # path of a module or parameter -> site
    unused: tuple[
        str, ...
    ] = ()  # parameters that the item's vector does not depend on, or that are constants

    def site(self, path: str) -> str | None:
        """The site of a parameter's path; None where it is unused. Raises `Invalid` for an unknown one."""
        generic = re.sub(r"\.\d+\.", ".#.", path, count=1)
        if generic.startswith(self.unused):
            return None
        found = re.search(r"\.(\d+)\.", path)
        for prefix, site in self.names.items():
            if generic == prefix or generic.startswith(prefix + "."):
                number = f"L{int(found.group(1)):02d}" if found else ""
                return site.replace("#", number) + generic[len(prefix) :]
        raise Invalid(f"Parameter '{path}' has no place in what is known of this architecture.")


_BERT = Family(
    modality="text",
    layers="encoder.layer",
    outputs={"mha": "attention.output", "ffn": "output"},
    post_norm=True,
    names={
        "embeddings.word_embeddings": "emb/word",
        "embeddings.position_embeddings": "emb/position",
        "embeddings.token_type_embeddings": "emb/type",
        "embeddings.LayerNorm": "emb/ln",
        "encoder.layer.#.attention.self.query": "#/mha/query",
        "encoder.layer.#.attention.self.key": "#/mha/key",
        "encoder.layer.#.attention.self.value": "#/mha/value",
        "encoder.layer.#.attention.output.dense": "#/mha/out",
        "encoder.layer.#.attention.output.LayerNorm": "#/mha/ln",
        "encoder.layer.#.intermediate.dense": "#/ffn/in",
        "encoder.layer.#.output.dense": "#/ffn/out",
        "encoder.layer.#.output.LayerNorm": "#/ffn/ln",
    },
)


def _vit(layers: str, norms: tuple[str, str], unused: tuple[str, ...] = ()) -> Family:
    return Family(
        modality="image",
        layers=layers,
        outputs={"mha": "attention", "ffn": "mlp"},
        post_norm=False,
        names={
            "embeddings.cls_token": "emb/cls",
            "embeddings.position_embeddings": "emb/position",
            "embeddings.patch_embeddings.projection": "emb/patch",
            f"{layers}.#.attention.q_proj": "#/mha/query",
            f"{layers}.#.attention.k_proj": "#/mha/key",
            f"{layers}.#.attention.v_proj": "#/mha/value",
            f"{layers}.#.attention.o_proj": "#/mha/out",
            f"{layers}.#.mlp.fc1": "#/ffn/in",
            f"{layers}.#.mlp.fc2": "#/ffn/out",
            f"{layers}.#.{norms[0]}": "#/mha/ln",
            f"{layers}.#.{norms[1]}": "#/ffn/ln",
            f"{layers}.#.layer_scale1.lambda1": "#/mha/scale",
            f"{layers}.#.layer_scale2.lambda1": "#/ffn/scale",
            "layernorm": "final/ln",
        },
        unused=unused,
    )


USER = Family(
    modality="text",  # of no meaning here: it reads item vectors
    layers="blocks",
    outputs={"mha": "mha", "ffn": "ffn"},
    post_norm=False,
    names={
        "positions": "emb/position",
        "norm": "emb/ln",
        "blocks.#.mha_norm": "#/mha/ln",
        "blocks.#.ffn_norm": "#/ffn/ln",
        "blocks.#.mha.query": "#/mha/query",
        "blocks.#.mha.key": "#/mha/key",
        "blocks.#.mha.value": "#/mha/value",
        "blocks.#.mha.out": "#/mha/out",
        "blocks.#.ffn.0": "#/ffn/in",
        "blocks.#.ffn.2": "#/ffn/out",
    },
)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "roberta": _BERT,
    "vit": _vit("layers", ("layernorm_before", "layernorm_after")),
    # MAE's position embeddings are constants (sine and cosine).
    "vit_mae": _vit("layers", ("layernorm_before", "layernorm_after"), ("embeddings.position_embeddings",)),
    "dinov2": _vit("encoder.layer", ("norm1", "norm2"), ("embeddings.mask_token",)),
}


def family_of(model_type: str) -> Family:
    """The family of a transformers `model_type`; raises `Invalid` naming those there are."""
    if model_type not in FAMILIES:
        raise Invalid(
            f"Encoders of type '{model_type}' are not supported. Use one of: {', '.join(FAMILIES)}."
        )
    return FAMILIES[model_type]


@dataclass(frozen=True)
class Part:
    """The item encoder or the user encoder, seen through its family. `width` is D."""

    name: PartName
    encoder: nn.Module
    family: Family
    width: int

    @property
    def layers(self) -> nn.ModuleList:
        """Its transformer layers, the first one at the bottom."""
        layers = self.encoder.get_submodule(self.family.layers)
        assert isinstance(layers, nn.ModuleList)  # noqa: S101 - every family has it so
        return layers

    def replace_layers(self, layers: nn.ModuleList) -> None:
        """Put other layers in their place."""
        self.encoder.set_submodule(self.family.layers, layers)

    def sites(self) -> Iterator["Site"]:
        """Every parameter by its site, in the modules' order; those that nothing depends on are left out."""
        for path, _ in self.encoder.named_parameters():
            if (name := self.family.site(path)) is not None:
                module, _, attribute = path.rpartition(".")
                yield Site(f"{self.name}/{name}", self.encoder.get_submodule(module), attribute)


@dataclass(frozen=True)
class Site:
    """A parameter's place: attribute `attribute` of `module`."""

    name: str
    module: nn.Module
    attribute: str

    @property
    def layer(self) -> int | None:
        """The number of the layer it belongs to; None for embeddings and the final LayerNorm."""
        found = re.match(r"(?:item|user)/L(\d+)/", self.name)
        return int(found.group(1)) if found else None

    def own(self) -> nn.Parameter:
        """Replace the shared parameter by a copy of its own and return it."""
        mine = nn.Parameter(getattr(self.module, self.attribute).detach().clone())
        setattr(self.module, self.attribute, mine)
        return mine
