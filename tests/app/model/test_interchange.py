"""AdapterHub's own library is the oracle: its checkpoints compute here what they compute there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from app.core.errors import Invalid, TooLarge
from app.model import adapters, interchange
from app.model.adapter_hub import LAYOUTS, Layout, layout_of_options
from app.model.adapters import AdapterConfig
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.model.interchange import export_adapter_hub, export_hub, import_adapter_hub, import_hub
from app.model.transrec import TransRec, TransRecConfig

HUB = Path(__file__).parents[2] / "fixtures" / "adapter_hub"  # make.py there says how it was made
GOLDEN = load_file(HUB / "golden.safetensors")
# Checkpoint -> method, placement.
LAYOUT: dict[str, tuple[str, str | None]] = {
    "double_seq_bn": ("houlsby", "serial"),
    "seq_bn": ("ffn", "after_norm"),
    "compacter": ("compacter", None),
    "par_bn": ("houlsby", "parallel"),
    "mh_seq_bn": ("pfeiffer", "serial"),
}


def item_encoder_states(model: TransRec) -> Tensor:
    """Last hidden states (4, 9, 32) of the golden inputs, in float64."""
    encoder: Any = model.double().eval().item_encoder.encoder
    ids, mask = GOLDEN["input_ids"], GOLDEN["attention_mask"]
    with torch.no_grad():
        return encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]


def transrec() -> TransRec:
    """A TransRec over the oracle's encoder."""
    return TransRec(AutoModel.from_pretrained(HUB / "encoder", add_pooling_layer=False), TransRecConfig())


def weights_without_prefix(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's weights by name, without the "bert." of models with heads."""
    return {k.removeprefix("bert."): v for k, v in load_file(folder / interchange.WEIGHTS).items()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a golden checkpoint with changed options, document or weights; None takes one away."""

    def changed(
        name: str = "double_seq_bn",
        options: dict[str, Any] | None = None,
        document: dict[str, Any] | None = None,
        weights: dict[str, Tensor | None] | None = None,
    ) -> Path:
        folder = Path(shutil.copytree(HUB / name, tmp_path / "checkpoint"))
        whole = json.loads((folder / interchange.CONFIG).read_text())
        whole["config"] |= options or {}
        whole = {k: v for k, v in (whole | (document or {})).items() if v is not None}
        (folder / interchange.CONFIG).write_text(json.dumps(whole))
        tensors = load_file(folder / interchange.WEIGHTS) | (weights or {})
        save_file({k: v for k, v in tensors.items() if v is not None}, folder / interchange.WEIGHTS)
        return folder

    return changed


def test_the_encoder_is_the_oracles() -> None:
    assert (item_encoder_states(transrec()) - GOLDEN["hidden/bare"]).abs().max() < 1e-9


def test_what_comes_in_computes_what_it_computed_there() -> None:
    weights, config = import_adapter_hub(HUB / "double_seq_bn")
    assert (config.method, config.bottleneck, config.user_bottleneck) == ("houlsby", 4, 0)
    states = item_encoder_states(adapters.load(transrec(), config, weights))
    assert (states - GOLDEN["hidden/double_seq_bn"]).abs().max() < 1e-9


@pytest.mark.parametrize("name", LAYOUT)
def test_the_names_and_formulas_are_the_librarys(name: str) -> None:
    """Written out, for the methods that are not here yet."""
    hub = json.loads((HUB / name / interchange.CONFIG).read_text())
    layout, found = layout_of_options(hub["config"]), weights_without_prefix(HUB / name)
    assert (layout.method, layout.placement) == LAYOUT[name]
    weights = {site: found.pop(theirs).double() for site, theirs in layout.names(2, name, "").items()}
    assert not found
    states = reference_states(weights, layout)
    assert (states - GOLDEN[f"hidden/{name}"]).abs().max() < 1e-9
    assert (states - GOLDEN["hidden/bare"]).norm() > 0.2 * GOLDEN["hidden/bare"].norm()


@torch.no_grad()
def reference_states(weights: dict[str, Tensor], layout: Layout) -> Tensor:
    """Last hidden states (4, 9, 32) of the golden inputs under the adapter, from its weights by site."""
    encoder: Any = transrec().double().eval().item_encoder.encoder
    seen = GOLDEN["attention_mask"].bool()[:, None, None, :]

    def linear(path: str, z: Tensor) -> Tensor:
        if "phm/rule" not in weights:
            return F.linear(z, weights[f"{path}.weight"], weights[f"{path}.bias"])
        factors = zip(weights["phm/rule"], weights[f"{path}.left"], weights[f"{path}.right"], strict=True)
        matrix = sum(torch.kron(rule, left @ right) for rule, left, right in factors)  # (in, out)
        return z @ matrix + weights[f"{path}.bias"]

    def end(site: str, module: Any, h: Tensor, x: Tensor) -> Tensor:
        y, norm = module.dense(h), module.LayerNorm
        if f"{site}/up.bias" in weights:
            read = {"serial": y, "parallel": x, "after_norm": norm(y + x)}[layout.placement or "serial"]
            activation = F.gelu if "phm/rule" in weights else F.relu
            y = y + linear(f"{site}/up", activation(linear(f"{site}/down", read)))
        return norm(y + x)  # type: ignore[no-any-return]

    x: Tensor = encoder.embeddings(input_ids=GOLDEN["input_ids"])
    for i, layer in enumerate(encoder.encoder.layer):
        attention: Any = layer.attention.self
        projections: tuple[nn.Module, ...] = (attention.query, attention.key, attention.value)
        q, k, v = (f(x).unflatten(-1, (2, 16)).transpose(1, 2) for f in projections)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        x = end(f"item/L{i:02d}/mha", layer.attention.output, h, x)
        x = end(f"item/L{i:02d}/ffn", layer.output, F.gelu(layer.intermediate.dense(x)), x)
    return x


def test_what_goes_out_is_what_the_library_wrote(tmp_path: Path) -> None:
    weights, config = import_adapter_hub(HUB / "double_seq_bn")
    export_adapter_hub(weights, config, tmp_path, "double_seq_bn")
    folders = (HUB / "double_seq_bn", tmp_path)
    theirs, ours = (weights_without_prefix(folder) for folder in folders)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    read, written = (json.loads((folder / interchange.CONFIG).read_text()) for folder in folders)
    # Several factors give the same k; in which encoder the weights began computes nothing.
    assert 32 // written["config"].pop("reduction_factor") == 32 // read["config"].pop("reduction_factor")
    assert read["config"] == written["config"]
    assert read.keys() - written.keys() == {"model_class", "model_name"}
    assert all(read[k] == written[k] for k in written.keys() - {"config"})


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_round_trip_changes_no_bit(model_type: str, tmp_path: Path) -> None:
    weights, config = import_adapter_hub(HUB / "double_seq_bn")
    export_adapter_hub(weights, config, tmp_path / "out", "again", model_type)
    again, config_again = import_adapter_hub(tmp_path / "out", model_type)
    assert config_again == config
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[k], weights[k]) for k in weights)


@pytest.mark.parametrize("width, bottleneck", [(768, 64), (768, 10), (384, 100), (32, 48), (768, 767)])
def test_the_library_would_find_the_same_bottleneck(width: int, bottleneck: int) -> None:
    layout = LAYOUTS[0]
    factor = layout.all_options(width, bottleneck)["reduction_factor"]
    assert int(width // factor) == bottleneck  # as adapters 1.3.0 computes it


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("double_seq_bn", {"non_linearity": "swish"}, "non_linearity='swish'; for our houlsby it is 'relu'"),
    ("compacter", {"non_linearity": "gelu_new"}, "for our compacter it is 'gelu'"),
    ("compacter", {"phm_rank": 2}, "phm_rank=2"),
    ("compacter", {"shared_phm_rule": False}, "shared_phm_rule=False"),
    ("par_bn", {"scaling": 4.0}, r"scaling=4.0; .* it is 1.0. .*par_bn\[scaling=1.0\]"),
    ("seq_bn", {"residual_before_ln": False}, "residual_before_ln=False"),
    ("seq_bn", {"inv_adapter": "nice"}, "inv_adapter='nice'"),
    ("double_seq_bn", {"leave_out": [0]}, r"leave_out=\[0\]"),
    ("double_seq_bn", {"use_gating": True}, "use_gating=True"),
    ("double_seq_bn", {"ln_after": True}, "ln_after=True"),
    ("double_seq_bn", {"architecture": "prompt_tuning", "prompt_length": 10}, "architecture='prompt_tuning'"),
    ("double_seq_bn", {"new_in_2.0": 1}, "new_in_2.0=1, which is no option"),
]


@pytest.mark.parametrize("name, options, words", REFUSED)
def test_what_cannot_be_represented_is_refused(
    checkpoint: Callable[..., Path], name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refusal:
        import_adapter_hub(checkpoint(name, options))
    assert "Both sides have" in refusal.value.message


def test_what_matters_in_training_alone_is_not_asked(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint(options={"dropout": 0.1, "init_weights": "mam_adapter", "phm_dim": 8})
    assert import_adapter_hub(folder)[1] == import_adapter_hub(HUB / "double_seq_bn")[1]


SITE = "bert.encoder.layer.0.output.adapters.double_seq_bn"
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"document": {"version": None}}, "wrong at 'version'"),
    ({"document": {"name": "a.b"}}, "wrong at 'name'"),
    ({"document": {"config": None}}, "wrong at 'config'"),
    ({"document": {"model_type": "roberta"}}, "for an encoder of type 'roberta', this one is 'bert'"),
    ({"weights": {f"{SITE}.adapter_up.bias": None}}, "lacks 1 tensor.*adapter_up.bias"),
    ({"weights": {"bert.prompt_tunings.a": torch.zeros(2)}}, "no use for 1 tensor.*prompt_tunings"),
    ({"weights": {f"{SITE}.adapter_down.0.bias": torch.zeros(5)}}, r"differ in width: \[4, 5\]"),
    ({"name": "compacter", "weights": {"bert.shared_parameters.compacter.phm_rule": None}}, "with heads"),
]


@pytest.mark.parametrize("change, words", BROKEN)
def test_a_broken_checkpoint_is_refused(
    checkpoint: Callable[..., Path], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        import_adapter_hub(checkpoint(**change))


def test_files_that_are_not_what_they_should_be_are_refused(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint()
    weights, config = folder / interchange.WEIGHTS, folder / interchange.CONFIG
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(Invalid, match="not a whole safetensors file"):
        import_adapter_hub(folder)
    weights.rename(folder / "pytorch_adapter.bin")
    with pytest.raises(Invalid, match=r"pickled weights .* never read. .*use_safetensors=True"):
        import_adapter_hub(folder)
    config.write_text("{" * 10_000)
    with pytest.raises(Invalid, match="wrong at 'the file'"):
        import_adapter_hub(folder)
    config.write_text(" " * (interchange.MAX_CONFIG_BYTES + 1))
    with pytest.raises(TooLarge, match="more than 65,536"):
        import_adapter_hub(folder)


def test_only_an_item_encoders_adapters_go_out(tmp_path: Path) -> None:
    weights, config = import_adapter_hub(HUB / "double_seq_bn")
    whole = config.model_dump()

    def refused(words: str, name: str = "fine", model_type: str = "bert", **changes: Any) -> None:
        other = AdapterConfig.model_validate(whole | changes)
        with pytest.raises(Invalid, match=words):
            export_adapter_hub(weights, other, tmp_path / "out", name, model_type)
        assert not (tmp_path / "out").exists()

    refused("no place for tune_layer_norm=true. Train with user_bottleneck=0", tune_layer_norm=True)
    refused("no place for user_bottleneck=4", user_bottleneck=4)
    refused("no place for popularity_prior=true", popularity_prior=True)
    refused("name matches", name="a.b")
    refused("'vit' encoder are not", model_type="vit")


def test_a_file_to_upload_and_back(backbone: Backbone, backbone_folder: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "adapter.safetensors", tmp_path / "out"
    config = import_hub(HUB / "double_seq_bn", file, str(backbone_folder))
    weights, read, fingerprint = adapter_from_bytes(file.read_bytes())
    assert (read, fingerprint) == (config, backbone.fingerprint)
    export_hub(file, folder, "mine", str(backbone_folder))
    again, _ = import_adapter_hub(folder)
    assert all(torch.equal(again[k], weights[k]) for k in weights)
    file.write_bytes(adapter_to_bytes(weights, config, "another"))
    with pytest.raises(Invalid, match="trained on another backbone"):
        export_hub(file, folder, "mine", str(backbone_folder))


def test_an_adapter_of_other_sizes_does_not_fit_the_backbone(
    backbone_folder: Path, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    found = load_file(HUB / "double_seq_bn" / interchange.WEIGHTS)
    third: dict[str, Tensor] = {k.replace("layer.1", "layer.2"): v for k, v in found.items()}
    with pytest.raises(Invalid, match="8 unknown tensor"):
        import_hub(checkpoint(weights=third), tmp_path / "adapter", str(backbone_folder))
    assert not (tmp_path / "adapter").exists()
