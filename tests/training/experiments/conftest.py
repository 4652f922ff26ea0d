import pytest

from training.experiments.rates import RATES
from training.experiments.results import RunResult
from training.experiments.scales import SMOKE, budget
from training.experiments.spec import RunSpec
from training.experiments.study import Study, Transfer


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
