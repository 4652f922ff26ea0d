from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.core.errors import Invalid
from tests.training.experiments.conftest import Witness
from training.cli import commands
from training.experiments.command import Asked, chosen, run, seeds_of, study_of
from training.experiments.plan import EXPERIMENTS

Ask = Callable[..., Asked]


def test_every_experiment_end_to_end_by_one_command(
    channels: Path, encoders: dict[str, str], tmp_path: Path
) -> None:
    arguments = [
        "experiment", "all", "--source", "videos,posters", "--target", "films,covers", "--scale", "smoke",
        "--data", str(channels), "--out", str(tmp_path / "out"), "--rates", "prompt=5e-3",
        "--text-encoder", encoders["text"], "--image-encoder", encoders["image"],
    ]  # fmt: skip
    done = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "82 distinct runs for 114 places" in done.output
    for name in EXPERIMENTS:
        assert str(tmp_path / "out" / f"{name}.md") in done.output
        report = (tmp_path / "out" / f"{name}.md").read_text()
        assert "failed" not in report
        assert "not run" not in report
        assert "popularity" in report
        assert (tmp_path / "out" / f"{name}.csv").is_file()
        assert (tmp_path / "out" / f"{name}.svg").stat().st_size < 60_000
    assert "prompt (text) 0.005" in (tmp_path / "out" / "table3.md").read_text()
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 82


def test_several_seeds_and_targets(ask: Ask) -> None:
    seen = Witness()
    run(ask("figure3", target="films,videos", source="videos", seeds=(0, 1)), seen)
    report = (ask("figure3").out / "figure3.md").read_text()
    assert "Seeds 0, 1" in report
    assert "a: targets (text)" in report
    assert "| videos |" in report


def test_one_modality_is_enough(ask: Ask) -> None:
    study = study_of(ask("table2", source="posters", target="covers"))
    assert [t.modality for t in study.transfers] == ["image"]
    assert {p.panel for p in EXPERIMENTS["table2"](study)} == {"SASRec image", "CPC image"}


def test_a_source_without_a_target_is_refused(ask: Ask) -> None:
    with pytest.raises(Invalid, match=r"source of images \(posters\) but no target"):
        study_of(ask("table2", source="videos,posters", target="films"))


def test_wrong_names_are_answered_with_the_possible_ones() -> None:
    with pytest.raises(Invalid, match=r"table2, .*figure6, all"):
        chosen("table9")
    with pytest.raises(Invalid, match="0,1,2"):
        seeds_of("one")
    assert seeds_of(" 0, 3 ") == (0, 3)
    assert chosen("all") == list(EXPERIMENTS)
