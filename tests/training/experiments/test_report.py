import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.training.experiments.conftest import made_up
from training.experiments.plan import EXPERIMENTS, runs
from training.experiments.plots import plot
from training.experiments.report import as_csv, write_report
from training.experiments.results import Results, RunResult
from training.experiments.scales import SMOKE, budget
from training.experiments.study import Point, Study
from training.experiments.summary import cells

VIT_TAIL = ["18.91", "18.05", "19.43", "18.79"]  # Compacter, K-Adapter, VPT, LN on images with CPC


def measured(points: Sequence[Point]) -> dict[str, RunResult]:
    """Every run with an HR@10 of its own."""
    specs = runs(points)
    return {s.key: made_up(s, 0.1 + 0.001 * i, trainable=10 + i) for i, s in enumerate(specs)}


def rows_of(report: str) -> list[list[str]]:
    lines = [line for line in report.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_figure_of_a_report_is_that_of_its_run_files(study: Study, name: str, tmp_path: Path) -> None:
    points = EXPERIMENTS[name](study)
    files = Results(tmp_path / "runs")
    for result in measured(points).values():
        files.write(result)
    report = write_report(
        name, study, points, files.read_all(runs(points), budget(SMOKE)), {}, tmp_path
    ).read_text()
    shown = {cell.strip("*") for row in rows_of(report) for cell in row if "±" in cell}
    by_place: dict[tuple[str, str, str], list[float]] = {}
    for p in points:
        found = files.read(p.spec)
        assert found is not None
        by_place.setdefault((p.panel, p.series, p.x), []).append(found.test["paper"]["hr10"])
    for place, (a, b) in by_place.items():
        mean, se = 100 * (a + b) / 2, 100 * abs(a - b) / 2
        assert f"{mean:.2f} ± {se:.2f}" in shown, place
    assert "not run" not in report


def test_the_papers_figures_stand_beside_ours(study: Study, tmp_path: Path) -> None:
    for name, ours, theirs in [
        ("table2", "SASRec text", ["", "", "paper, BERT", "32.83", "32.52", "-0.94%"]),
        ("table3", "CPC image", ["", "", "paper, ViT", "-", "25.29", "24.63", *VIT_TAIL]),
        ("table4", "SASRec text", ["", "", "paper, BERT", "32.75", "32.45", "3.17"]),
    ]:  # fmt: skip
        points = EXPERIMENTS[name](study)
        rows = rows_of(write_report(name, study, points, measured(points), {}, tmp_path).read_text())
        at = next(i for i, row in enumerate(rows) if row[:2] == [ours, "HR@10"])
        assert rows[at + 1] == theirs
    points = EXPERIMENTS["table5"](study)
    rows = rows_of(write_report("table5", study, points, measured(points), {}, tmp_path).read_text())
    pfeiffer = next(row for row in rows if row[0] == "MHA (Pfeiffer)")
    assert (pfeiffer[2], pfeiffer[4], pfeiffer[-1]) == ("31.49", "27.34", "1,232,928")


def test_one_seed_shows_the_error_over_users(study: Study, tmp_path: Path) -> None:
    one = Study(study.transfers, study.scale, (0,), study.rates)
    points = EXPERIMENTS["table2"](one)
    report = write_report("table2", one, points, measured(points), {}, tmp_path).read_text()
    assert "10.00 ± 1.00" in report


def test_what_is_missing_or_failed_is_named(study: Study, tmp_path: Path) -> None:
    points = EXPERIMENTS["table2"](study)
    results = measured(points)
    specs = runs(points)
    del results[specs[0].key]
    failed = RunResult(spec=specs[1], status="failed", error="RuntimeError: out of memory", budget={})
    results[specs[1].key] = failed
    report = write_report("table2", study, points, results, {}, tmp_path).read_text()
    assert f"not run: {specs[0].title}" in report
    assert f"failed: {specs[1].title}: RuntimeError: out of memory" in report
    assert f"{len(specs) - 2} of {len(specs)} runs done" in report


def test_the_head_says_all_that_is_needed_to_repeat_it(study: Study, tmp_path: Path) -> None:
    points = EXPERIMENTS["table3"](study)
    report = write_report("table3", study, points, measured(points), {}, tmp_path).read_text()
    for words in [
        "Scale `smoke`", "at most 40 users", "Seeds 0, 1", "commit abc", "houlsby (text) 0.001",
        "videos, beauty -> science, films", "some_text, 6 layers", "50 users, 70 items",
    ]:  # fmt: skip
        assert words in report


def test_baselines_stand_below_the_table(study: Study, tmp_path: Path) -> None:
    points = EXPERIMENTS["table2"](study)
    figures = {"hr10": 0.05, "ndcg10": 0.02, "hr10_se": 0.01, "ndcg10_se": 0.01}
    known = {"science": {"popularity": figures}}
    report = write_report("table2", study, points, measured(points), known, tmp_path).read_text()
    assert "| science | popularity | 5.00 ± 1.00 | 2.00 ± 1.00 |" in report


def test_the_csv_has_one_row_a_run_with_every_protocol(study: Study) -> None:
    points = EXPERIMENTS["table6"](study)
    results = measured(points)
    rows = list(csv.DictReader(io.StringIO(as_csv(results.values()))))
    assert len(rows) == len(results)
    by_key = {row["key"]: row for row in rows}
    for key, result in results.items():
        assert float(by_key[key]["test_paper_hr10"]) == result.test["paper"]["hr10"]
        assert float(by_key[key]["test_default_hr10"]) == 0.99
    assert {row["options"] for row in rows} >= {"placement=parallel tune_layer_norm=False"}


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_plots_are_small_vector_graphics_with_readable_text(study: Study, name: str, tmp_path: Path) -> None:
    points = EXPERIMENTS[name](study)
    found = cells(points, measured(points))
    path = plot(name, points, found, tmp_path)
    assert path.stat().st_size < 60_000
    text = " ".join(ElementTree.parse(path).getroot().itertext())  # noqa: S314 - our own file
    assert "HR@10 (%)" in text
    for label in {p.series for p in points}:
        assert label in text
    again = plot(name, points, found, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()


def test_a_plot_of_nothing_yet_is_drawn_too(study: Study, tmp_path: Path) -> None:
    points = EXPERIMENTS["figure6"](study)
    assert plot("figure6", points, {}, tmp_path).is_file()


def test_damaged_and_outdated_files_do_not_count_as_done(study: Study, tmp_path: Path) -> None:
    spec = EXPERIMENTS["table2"](study)[0].spec
    files, known = Results(tmp_path), budget(SMOKE)
    assert not files.done(spec, known)
    files.write(made_up(spec, 0.1))
    assert files.done(spec, known)
    assert not files.done(spec, known | {"seconds": 99})
    assert files.read_all([spec], known | {"seconds": 99}) == {}
    files.write(RunResult(spec=spec, status="failed", error="x", budget=known))
    assert not files.done(spec, known)
    files.path(spec).write_text(re.sub("}$", "", files.path(spec).read_text().strip()))
    assert not files.done(spec, known)
    assert [p.name for p in tmp_path.iterdir()] == [f"{spec.key}.json"]  # nothing left beside
