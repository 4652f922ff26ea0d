import gzip
from pathlib import Path

import pytest

from app.core.errors import Invalid
from app.model.backbone import load_backbone
from tests.fakes import ENCODER, build_backbone, picture
from tests.pictures import tarred
from tests.training.conftest import chains
from training.fit import FitConfig, StepReport
from training.pretrain import Recipe, Watch, pretrain, read_recipe
from training.sources import read_retail, read_tsv


def write_source(folder: Path, name: str) -> None:
    items, sequences = chains()
    with gzip.open(folder / f"{name}.items.tsv.gz", "wt") as out:
        out.writelines(f"{item}\t{text}\n" for item, text in items.items())
    with gzip.open(folder / f"{name}.users.tsv.gz", "wt") as out:
        out.writelines(f"{user}\t{' '.join(sequence)}\n" for user, sequence in sequences.items())


def test_a_recipe_gives_a_backbone_that_loads(backbone_folder: Path, tmp_path: Path) -> None:
    write_source(tmp_path, "one")
    write_source(tmp_path, "two")
    fit = FitConfig(batch_users=32, max_epochs=1)
    encoder = f"directory:{backbone_folder / ENCODER.removeprefix('directory:')}"
    recipe = Recipe(
        name="new", encoder=encoder, pooling="mean", sources=["one", "two"], top_layers=1, frozen=fit, top=fit
    )
    said: list[str] = []
    fingerprint = pretrain(recipe, tmp_path, tmp_path / "out", Watch(said.append))
    loaded = load_backbone(str(tmp_path / "out"))
    assert loaded.fingerprint == fingerprint
    assert (tmp_path / "out" / "item_encoder.safetensors").is_file()  # the tuned top layer
    assert any(line.startswith("two: test HR@10") for line in said)


def test_a_recipe_on_images_finds_its_encoder_in_the_folder_it_writes(tmp_path: Path) -> None:
    write_source(tmp_path, "posters")
    images = {f"i{number:02d}.jpg": picture(number) for number in range(24)}
    (tmp_path / "posters.tar").write_bytes(tarred(images))
    out = tmp_path / "out"
    build_backbone(out, "vit_mae")
    fit = FitConfig(batch_users=32, max_epochs=1)
    recipe = Recipe.model_validate(
        {"name": "new", "encoder": ENCODER, "pooling": "cls", "sources": ["posters"], "image_size": (24, 16)}
        | {"length": 10, "top_layers": 1, "frozen": fit, "top": fit}
    )
    fingerprint = pretrain(recipe, tmp_path, out, Watch(lambda _: None))
    loaded = load_backbone(str(out))
    assert (loaded.fingerprint, loaded.modality) == (fingerprint, "image")
    assert loaded.model.config.image_size == (24, 16)


def test_a_killed_pretraining_goes_on_where_it_was(backbone_folder: Path, tmp_path: Path) -> None:
    write_source(tmp_path, "one")
    fit = FitConfig(batch_users=16, max_epochs=2, checkpoint_seconds=0, warmup_steps=3, decay=True)
    encoder = f"directory:{backbone_folder / ENCODER.removeprefix('directory:')}"
    recipe = Recipe(
        name="new",
        encoder=encoder,
        pooling="mean",
        sources=["one"],
        top_layers=1,
        prior=0.5,
        frozen=fit,
        top=fit,
    )
    whole = pretrain(recipe, tmp_path, tmp_path / "whole", Watch(lambda _: None))
    out, steps = tmp_path / "out", 0

    def killed(_: StepReport) -> None:
        nonlocal steps
        steps += 1
        if steps == 11:  # in the second stage's first epoch: 8 steps are the first stage
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path, out, Watch(lambda _: None, killed))
    assert {path.name for path in (out / "checkpoint").iterdir()} == {"frozen.safetensors", "top.safetensors"}
    after = list[StepReport]()
    assert pretrain(recipe, tmp_path, out, Watch(lambda _: None, after.append)) == whole
    assert len(after) == 16 - 10  # the killed step had no checkpoint yet
    assert not (out / "checkpoint").exists()
    assert load_backbone(str(out)).model.config.prior == 0.5


@pytest.mark.parametrize("name", ["minilm-transrec", "vit-transrec"])
def test_the_shipped_recipes_are_valid(name: str) -> None:
    assert read_recipe(name).sources


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(Invalid, match="minilm-transrec"):
        read_recipe("nothing")


def test_the_retailers_departments() -> None:
    source = read_retail("PASTRY")
    assert len(source.items) == 2149
    assert sum(len(s) for s in source.sequences.values()) == 15_046
    assert sum(len(s) >= 5 for s in source.sequences.values()) == 1_102
    times = source.times["1"]
    assert times == sorted(times)
    with pytest.raises(Invalid, match="PASTRY"):
        read_retail("NOTHING")


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nothing\.items"):
        read_tsv(tmp_path, "nothing")
