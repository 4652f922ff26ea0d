import os
from pathlib import Path

import pytest

from app.model.backbone import Backbone
from training.dataset import Corpus, build_corpus
from training.finetune import Subject, subject

# Real data that the project does not ship: beside the checkout, or where TEST_DATA says.
DATA = Path(os.environ.get("TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not in {DATA}")


def chains(users: int = 60, items: int = 24) -> tuple[dict[str, str], dict[str, list[str]]]:
    """A channel that can be learned: whoever takes item n takes item n + 1 next."""
    texts = {f"i{n:02d}": f"thing {'abcdefghijklmnopqrstuvwxyz'[n]}" for n in range(items)}
    sequences = {f"u{u}": [f"i{(u + k) % items:02d}" for k in range(8)] for u in range(users)}
    return texts, sequences


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return build_corpus("chains", *chains(), 20)


@pytest.fixture(scope="session")
def on(backbone: Backbone, corpus: Corpus) -> Subject:
    return subject(backbone, corpus)
