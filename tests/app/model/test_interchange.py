"""AdapterHub's own library is the oracle: its checkpoints compute here what they compute there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel

from app.core.errors import Invalid, TooLarge
from app.model import adapters, interchange
from app.model.adapter_hub import LAYOUTS
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.model.interchange import export_adapter_hub, export_hub, import_adapter_hub, import_hub
from app.model.methods import AdapterConfig
from app.model.transrec import TransRec, TransRecConfig

HUB = Path(__file__).parents[2] / "fixtures" / "adapter_hub"  # make.py there says how it was made
GOLDEN = load_file(HUB / "golden.safetensors")
# Checkpoint -> method, placement, bottleneck of what we make of it.
OURS: dict[str, tuple[str, str | None, int]] = {
    "double_seq_bn": ("houlsby", "serial", 4),
    "seq_bn": ("ffn", "after_norm", 4),
    "compacter": ("compacter", None, 8),
    "par_bn": ("houlsby", "parallel", 4),
    "mh_seq_bn": ("pfeiffer", "serial", 5),
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


@pytest.mark.parametrize("name", OURS)
def test_what_comes_in_computes_what_it_computed_there(name: str) -> None:
    weights, config = import_adapter_hub(HUB / name)
    assert (config.method, config.placement, config.bottleneck) == OURS[name]
    states = item_encoder_states(adapters.load(transrec(), config, weights))
    assert (states - GOLDEN[f"hidden/{name}"]).abs().max() < 1e-9
    assert (states - GOLDEN["hidden/bare"]).norm() > 0.2 * GOLDEN["hidden/bare"].norm()


@pytest.mark.parametrize("name", OURS)
def test_what_goes_out_is_what_the_library_wrote(name: str, tmp_path: Path) -> None:
    weights, config = import_adapter_hub(HUB / name)
    export_adapter_hub(weights, config, tmp_path, name)
    theirs, ours = (weights_without_prefix(folder) for folder in (HUB / name, tmp_path))
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    read, written = (json.loads((d / interchange.CONFIG).read_text()) for d in (HUB / name, tmp_path))
    # Several factors give the same k; how the weights began, and in which encoder, computes nothing.
    assert 32 // written["config"].pop("reduction_factor") == 32 // read["config"].pop("reduction_factor")
    assert read["config"] | {"init_weights": "bert"} == written["config"]
    assert read.keys() - written.keys() == {"model_class", "model_name"}
    assert all(read[k] == written[k] for k in written.keys() - {"config"})


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_round_trip_changes_no_bit(name: str, model_type: str, tmp_path: Path) -> None:
    weights, config = import_adapter_hub(HUB / name)
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

    refused('no place for tune_layer_norm=true. Train with encoders="item"', tune_layer_norm=True)
    refused('no place for encoders="both"', encoders="both")
    refused("no place for top_layers=1", top_layers=1)
    refused("no place for popularity_prior=true", popularity_prior=True)
    refused("no adapter like our mha[+][+]. These can be exported: houlsby", method="mha++", position="mha")
    refused("no use for", method="pfeiffer", position="mha")
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
