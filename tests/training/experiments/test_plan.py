from collections import Counter
from itertools import pairwise

import pytest

from app.core.errors import Invalid
from training.experiments.plan import EXPERIMENTS, runs
from training.experiments.published import RESULTS, TRAINABLE
from training.experiments.rates import RATES, with_overrides
from training.experiments.scales import SCALES, budget, find_scale
from training.experiments.spec import RunSpec
from training.experiments.study import Study

SPEC = RunSpec(
    modality="text", encoder="package:some_text", sources=("videos",), target="films", objective="sasrec",
    method="houlsby", options={"placement": "parallel", "tune_layer_norm": False}, learning_rate=1e-3,
    scale="cpu",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "places"),  # of one seed: methods x objectives x modalities
    [
        ("table2", 2 * 2 * 2),
        ("table3", 7 * 2 * 2),
        ("table4", 3 * 2 * 2),
        ("table5", 5 * 1 * 2),
        ("table6", 4 * 2 * 2),
        ("figure3", 2 * 2 + (2 * 3 + 2 + 2) * 2),  # two targets of texts; smoke has two layers, two widths
        ("figure6", (2 * 2 + 2 * 3) * 2),
    ],
)
def test_every_table_has_its_runs(study: Study, name: str, places: int) -> None:
    points = EXPERIMENTS[name](study)
    assert len(points) == places * len(study.seeds)
    once = Counter((p.panel, p.series, p.x, p.spec.seed) for p in points)
    assert set(once.values()) == {1}


def test_a_run_of_several_tables_is_one_run(study: Study) -> None:
    columns = {
        "table2": "AdaT",
        "table3": "Houlsby",
        "table5": "MHA+FFN (Houlsby)",
        "table6": "Serial w/ LN",
    }
    houlsby = {
        name: {p.spec.key for p in EXPERIMENTS[name](study) if (p.panel, p.series) == ("SASRec text", series)}
        for name, series in columns.items()
    }
    assert len(houlsby["table2"]) == 2  # seeds
    assert len({frozenset(keys) for keys in houlsby.values()}) == 1
    adapter = [p.spec.key for p in EXPERIMENTS["table4"](study) if p.series == "Adapter"]
    serial = [p.spec.key for p in EXPERIMENTS["table6"](study) if p.series == "Serial w/o LN"]
    assert sorted(adapter) == sorted(serial)
    places = [p for make in EXPERIMENTS.values() for p in make(study)]
    assert len(runs(places)) == len({p.spec.key for p in places}) == 2 * 84
    assert len(places) == 2 * 118


def test_runs_of_one_backbone_and_target_come_together(study: Study) -> None:
    order = [
        (s.seed, s.modality, s.objective, s.source_share, s.sources, s.target)
        for s in runs(EXPERIMENTS["table3"](study))
    ]
    changes = sum(a != b for a, b in pairwise(order))
    assert changes == len(set(order)) - 1


def test_the_name_of_a_run_never_changes() -> None:
    assert SPEC.key == "3b9c94c559a14cbd"
    turned = SPEC.model_copy(update={"options": {"tune_layer_norm": False, "placement": "parallel"}})
    assert turned.key == SPEC.key
    assert RunSpec.model_validate_json(SPEC.model_dump_json()) == SPEC


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1}, {"learning_rate": 1e-4}, {"scale": "gpu"}, {"source_share": 0.5}, {"target_share": 0.5},
        {"objective": "cpc"}, {"options": {}}, {"sources": ("videos", "beauty")}, {"encoder": "vit"},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_differs_makes_another_run(change: dict[str, object]) -> None:
    assert RunSpec.model_validate(SPEC.model_dump() | change).key != SPEC.key


def test_prompts_on_images_are_visual_prompts(study: Study) -> None:
    methods = {
        (p.spec.modality, p.spec.method) for p in EXPERIMENTS["table3"](study) if p.series == "Prompt tuning"
    }
    assert methods == {("text", "prompt"), ("image", "vpt")}


def test_idrec_depends_on_no_source(study: Study) -> None:
    of_id = [p.spec for p in EXPERIMENTS["figure6"](study) if p.series == "IDRec"]
    assert {(s.sources, s.encoder) for s in of_id} == {((), "")}


def test_nopt_is_a_share_of_nothing(study: Study) -> None:
    nopt = [p for p in EXPERIMENTS["figure6"](study) if p.x == "NoPT"]
    assert {p.spec.source_share for p in nopt} == {0.0}
    assert {p.series for p in nopt} == {"FTA", "AdaT"}


def test_every_published_figure_has_its_place(study: Study) -> None:
    for name, panels in RESULTS.items():
        planned = {(p.panel, p.series) for p in EXPERIMENTS[name](study)}
        printed = {(panel, s) for panel, rows in panels.items() for row in rows.values() for s in row}
        assert printed <= planned
        if name != "table3":  # where FTA is ours to add
            assert printed == planned
        columns = {series for _, series in planned}
        assert all(set(row) <= columns for row in TRAINABLE.get(name, {}).values())


def test_published_figures_as_printed() -> None:
    assert RESULTS["table2"]["SASRec text"]["BERT"]["FTA"].hr10 == 32.83
    assert RESULTS["table3"]["SASRec image"]["ViT"]["K-Adapter"].ndcg10 == 13.65
    assert RESULTS["table4"]["SASRec text"]["BERT"]["Adapter Eu"].hr10 == 3.17
    assert RESULTS["table5"]["SASRec image"]["ViT"]["MHA++"].hr10 == 27.49
    assert RESULTS["table6"]["CPC text"]["BERT"]["Parallel w/ LN"].hr10 == 30.28


def test_rates_can_be_overridden_by_method_and_modality() -> None:
    changed = with_overrides(["houlsby=5e-4", "image:fta=2e-4"])
    assert changed["text"]["houlsby"] == changed["image"]["houlsby"] == 5e-4
    assert changed["image"]["fta"] == 2e-4
    assert changed["text"]["fta"] == RATES["text"]["fta"] != 2e-4


@pytest.mark.parametrize("wrong", ["nothing=1e-3", "video:fta=1e-3", "fta=0", "fta=2", "fta=quick", "fta"])
def test_a_wrong_rate_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid, match=r"method=rate|above 0"):
        with_overrides([wrong])


def test_scales_say_what_they_cut() -> None:
    said = "; ".join(find_scale("cpu").cuts())
    for figure in ("1,000 users", "4,000 most popular", "frozen encoder", "300 s", "top 2 layers"):
        assert figure in said
    assert not any("users" in line for line in find_scale("gpu").cuts())
    with pytest.raises(Invalid, match="smoke, cpu, gpu"):
        find_scale("tpu")
    assert {"seeds", "grid"}.isdisjoint(budget(SCALES["cpu"]))
