import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.core.errors import Invalid
from app.model.backbone import load_backbone
from app.model.methods import published
from tests.training.experiments.conftest import Witness
from training.experiments.backbones import Backbones
from training.experiments.command import Asked, run, study_of
from training.experiments.plan import EXPERIMENTS, runs
from training.experiments.results import Results
from training.experiments.runs import Bench, execute, fit_config
from training.experiments.scales import SMOKE, budget
from training.experiments.spec import RunSpec
from training.experiments.study import Study

Ask = Callable[..., Asked]


def test_a_killed_command_goes_on_where_it_was(ask: Ask, tmp_path: Path) -> None:
    whole = Witness()
    run(ask("table2", out=tmp_path / "whole"), whole)
    assert len(whole.started) == 4
    killed = Witness(stop_in_run=3)
    with pytest.raises(KeyboardInterrupt):
        run(ask("table2"), killed)
    assert len(killed.ended) == 2
    report = tmp_path / "out" / "table2.md"
    assert report.read_text().count("not run") == 2
    resumed = Witness()
    assert run(ask("table2"), resumed) == [report]
    assert resumed.started == whole.started[2:]
    assert resumed.places == [(0, 2), (1, 2)]
    assert "not run" not in report.read_text()
    figures = [r.test for r in killed.ended + resumed.ended]
    assert figures == [r.test for r in whole.ended]


def test_what_is_done_is_never_done_again(ask: Ask) -> None:
    first, again, wider = Witness(), Witness(), Witness()
    run(ask("table2"), first)
    assert sum(line.startswith("pretraining") for line in first.said) == 2  # one an objective
    run(ask("table2"), again)
    assert again.started == []
    run(ask("table6"), wider)
    assert len(wider.started) == 4 * 2 - 2  # Houlsby of both objectives is there
    assert not any(line.startswith("pretraining") for line in wider.said)


def test_a_failed_run_is_recorded_tried_again_and_stops_no_other(ask: Ask, tmp_path: Path) -> None:
    asked = ask("table2")
    good = runs(EXPERIMENTS["table2"](study_of(asked)))[0]
    bad = good.model_copy(update={"method": "ftn", "options": {"top_layers": 9}})
    bench = Bench(SMOKE, asked.data, asked.out, torch.device("cpu"), Witness())
    files = Results(tmp_path / "runs")
    for _ in range(2):
        failed = execute([bad, good], bench, files)
        assert [r.spec.key for r in failed] == [bad.key]
    found = files.read(bad)
    assert found is not None
    assert "top_layers is 9" in found.error
    assert files.read_all([bad, good], budget(SMOKE))[good.key].status == "done"


def test_failures_are_an_error_at_the_end_and_named_in_the_report(ask: Ask) -> None:
    asked = ask("table3")
    wrong_encoder = replace(
        asked, encoders={"text": asked.encoders["image"], "image": asked.encoders["image"]}
    )
    with pytest.raises(Invalid, match=r"runs failed.*tries them again"):
        run(wrong_encoder, Witness())
    assert "failed: " in (asked.out / "table3.md").read_text()


def test_a_run_file_holds_all_that_a_report_needs(ask: Ask) -> None:
    seen = Witness()
    run(ask("table2"), seen)
    adapted = next(r for r in seen.ended if r.spec.method == "houlsby")
    assert set(adapted.test) == {"default", "paper"}
    for figures in (adapted.validation, *adapted.test.values()):
        assert {"hr10", "ndcg10", "hr10_se", "ndcg10_se", "users", "cold_hr10", "cold_users"} <= set(figures)
    assert (adapted.users, adapted.epochs, len(adapted.curve)) == (SMOKE.target.users, 1, 1)
    assert 0 < adapted.trainable < adapted.full
    assert adapted.pretraining["users"] == SMOKE.source.users
    assert set(adapted.versions) == {"python", "torch", "transformers", "commit", "cpu", "device"}
    tuned = next(r for r in seen.ended if r.spec.method == "fta")
    assert adapted.trainable < tuned.trainable < tuned.full == adapted.full  # smoke tunes the top layer


def test_every_planned_method_is_the_papers_own(study: Study) -> None:
    for name in EXPERIMENTS:
        for spec in runs(EXPERIMENTS[name](study)):
            if spec.method == "idrec":
                continue
            config = published(spec.method, **spec.options)
            assert not config.popularity_prior
            assert config.tune_dtl in (None, spec.method == "vpt")
            assert fit_config(SMOKE, spec).objective == spec.objective


def backbones(ask: Ask, spec: RunSpec, **scale: object) -> tuple[Backbones, Path]:
    asked = ask("figure6")
    made = Backbones(
        asked.out, asked.data, replace(SMOKE, **scale), torch.device("cpu"), Witness().say  # type: ignore[arg-type]
    )  # fmt: skip
    return made, asked.out / made.key(spec)


def test_backbones_of_other_shares_and_objectives_are_others(ask: Ask) -> None:
    spec = runs(EXPERIMENTS["table2"](study_of(ask("table2"))))[0]
    made, _ = backbones(ask, spec)
    changes: list[dict[str, object]] = [{"source_share": 0.5}, {"objective": "sasrec"}, {"source_share": 0.0}]
    keys = {made.key(spec.model_copy(update=change)) for change in [{}, *changes]}
    assert len(keys) == 4
    same: list[dict[str, object]] = [{"seed": 7}, {"method": "fta"}, {"target": "x"}, {"target_share": 0.5}]
    assert {made.key(spec.model_copy(update=change)) for change in same} == {made.key(spec)}
    never = spec.model_copy(update={"source_share": 0.0})
    assert made.key(never) == made.key(never.model_copy(update={"objective": "sasrec"}))


def test_frozen_pretraining_leaves_the_encoder_and_end_to_end_does_not(ask: Ask) -> None:
    spec = runs(EXPERIMENTS["table2"](study_of(ask("table2"))))[0]
    for whole in (False, True):
        made, folder = backbones(ask, spec, end_to_end=whole)
        backbone = made.get(spec)
        assert (folder / "item_encoder.safetensors").is_file() == whole
        assert made.record(spec)["end_to_end"] == whole
        assert load_backbone(str(folder)).fingerprint == backbone.fingerprint
        assert not any(p.requires_grad for p in backbone.model.parameters())


def test_nopt_has_an_untrained_user_encoder(ask: Ask) -> None:
    spec = runs(EXPERIMENTS["table2"](study_of(ask("table2"))))[0]
    made, folder = backbones(ask, spec)
    trained = made.get(spec).model.user_encoder.state_dict()
    fresh = made.get(spec.model_copy(update={"source_share": 0.0})).model.user_encoder.state_dict()
    assert not torch.equal(trained["positions.weight"], fresh["positions.weight"])
    assert folder.is_dir()
    records = [json.loads(p.read_text()) for p in folder.parent.glob("*/pretraining.json")]
    assert sorted(r["share"] for r in records) == [0.0, 1.0]
    assert "epochs" not in next(r for r in records if r["share"] == 0)


def test_idrec_has_a_vector_an_item_and_no_backbone(ask: Ask) -> None:
    seen = Witness()
    run(ask("figure6"), seen)
    of_id = next(r for r in seen.ended if r.spec.method == "idrec" and r.spec.target_share == 1)
    assert of_id.trainable == of_id.full == (of_id.items + 1) * 64 + 100_864
    assert of_id.pretraining == {}
