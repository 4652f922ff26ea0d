"""A study that nothing is read for, and tiny real data and encoders to run one on."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import build_backbone, picture
from tests.pictures import tarred
from training.experiments.command import Asked
from training.experiments.rates import RATES
from training.experiments.results import RunResult
from training.experiments.scales import SMOKE, budget
from training.experiments.spec import RunSpec
from training.experiments.study import Study, Transfer
from training.fit import StepReport

USERS, ITEMS = 64, 48


@pytest.fixture
def study() -> Study:
    """Both modalities, two seeds; nothing is read or trained for it."""
    text = Transfer("text", "package:some_text", 6, ("videos", "beauty"), ("science", "films"))
    image = Transfer("image", "vit", 12, ("posters",), ("covers",))
    return Study((text, image), SMOKE, (0, 1), RATES)


def made_up(spec: RunSpec, hr10: float, trainable: int = 100) -> RunResult:
    """A finished run whose figures are known."""
    figures = {"hr10": hr10, "ndcg10": hr10 / 2, "hr10_se": 0.01, "ndcg10_se": 0.005, "users": 50.0}
    return RunResult(
        spec=spec,
        status="done",
        budget=budget(SMOKE),
        validation=figures,
        test={"paper": figures, "default": {**figures, "hr10": 0.99}},
        trainable=trainable,
        full=1000,
        users=50,
        items=70,
        epochs=3,
        versions={"torch": "2", "commit": "abc"},
    )


@dataclass
class Witness:
    """A `Watch` that remembers, and may play Ctrl-C in the midst of a run."""

    stop_in_run: int | None = None
    said: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    steps: list[StepReport] = field(default_factory=list)
    ended: list[RunResult] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)

    def run_starts(self, number: int, of: int, spec: RunSpec) -> None:
        self.started.append(spec.key)
        self.places.append((number, of))

    def run_ends(self, result: RunResult) -> None:
        self.ended.append(result)

    def step(self, report: StepReport) -> None:
        self.steps.append(report)
        if len(self.started) == self.stop_in_run:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders text (videos, films) and images (posters, covers): whoever takes item n takes n + 1 next."""
    folder = tmp_path_factory.mktemp("channels")
    for name in ("videos", "films"):
        _write(folder / "text", name)
    for name in ("posters", "covers"):
        _write(folder / "images", name)
    images = {f"{name}{n:02d}.jpg": picture(n) for n in range(ITEMS) for name in ("posters", "covers")}
    (folder / "images" / "all.tar").write_bytes(tarred(images))
    return folder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two tiny encoders, by modality."""
    folder = tmp_path_factory.mktemp("encoders")
    for modality, model_type in (("text", "bert"), ("image", "dinov2")):
        build_backbone(folder / modality, model_type)
    return {m: f"directory:{folder / m / 'encoder'}" for m in ("text", "image")}


@pytest.fixture
def ask(channels: Path, encoders: dict[str, str], tmp_path: Path) -> Callable[..., Asked]:
    """An experiment at scale `smoke` on the tiny data, into this test's folder."""

    def asked(experiment: str, source: str = "videos", target: str = "films", **more: object) -> Asked:
        fields = {"scale": "smoke", "out": tmp_path / "out", "encoders": encoders, "data": channels} | more
        return Asked(experiment, source.split(","), target.split(","), **fields)  # type: ignore[arg-type]

    return asked


def _write(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    items = [f"{name}{n:02d}" for n in range(ITEMS)]
    with gzip.open(folder / f"{name}.items.tsv.gz", "wt") as out:
        out.writelines(f"{item}\tthing {n // 10} {n % 10}\n" for n, item in enumerate(items))
    with gzip.open(folder / f"{name}.users.tsv.gz", "wt") as out:
        for user in range(USERS):
            taken = " ".join(items[(user + k) % ITEMS] for k in range(8))
            out.write(f"u{user}\t{taken}\n")
