"""HR@10 / NDCG@10 of the baselines, the bare backbone and the Houlsby adapter, on the test split.

python -m tests.benchmarks.quality pastry deli --data DIR [--set fit.batch_users=128 ...]

A name is a retail department (pastry, deli, nutrition, ...) or a source in DIR.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from app.model.backbone import Backbone, load_backbone
from app.model.device import pick_device
from training.dataset import Corpus, Stage, build_corpus
from training.evaluate import Evaluation
from training.finetune import Subject, TrainingConfig, finetune, subject
from training.fit import StepReport
from training.sources import read_retail, read_tsv

STAGES: tuple[Stage, ...] = ("validation", "test")


def corpus_of(name: str, data: Path | None, length: int) -> Corpus:
    """A source in the folder if it is there, else a department of the retailer."""
    if data and (data / f"{name}.items.tsv.gz").is_file():
        source = read_tsv(data, name)
    else:
        source = read_retail(name.upper())
    return build_corpus(name, source.items, source.sequences, length)


def row(name: str, method: str, stage: str, e: Evaluation, more: str = "") -> str:
    """One line of the Markdown table."""
    o, c = e.overall, e.cold
    hr10, ndcg10 = f"{o.hr10:.4f} ± {o.hr10_se:.4f}", f"{o.ndcg10:.4f} ± {o.ndcg10_se:.4f}"
    return f"| {name} | {method} | {stage} | {hr10} | {ndcg10} | {c.hr10:.4f} ({c.users}) | {more} |"


class Printer:
    """A line of progress each ten seconds."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, step: StepReport) -> None:
        """Epoch, step, loss and the last validation."""
        if time.monotonic() - self.last > 10:
            self.last = time.monotonic()
            val = f" val HR@10 {step.curve[-1]['hr10']:.4f}" if step.curve else ""
            print(
                f"  {step.seconds:.0f}s epoch {step.epoch} {step.step}/{step.steps} {step.loss:.3f}{val}",
                flush=True,
            )


def measure(on: Subject, config: TrainingConfig, train: bool) -> list[str]:
    """All rows of one channel."""
    name, rows, bare = on.corpus.name, list[str](), on.backbone.model
    vectors = on.encode(bare)
    for stage in STAGES:
        rows += [row(name, method, stage, found) for method, found in on.baselines(stage).items()]
        rows.append(row(name, "zero-shot", stage, on.evaluate(bare, vectors, stage)))
    print("\n".join(rows), flush=True)
    if train:
        trained = finetune(on, config, Printer())
        more = f"{len(trained.state.curve)} epochs, {trained.state.seconds:.0f} s"
        for stage in STAGES:
            rows.append(row(name, "houlsby", stage, on.evaluate(trained.model, trained.vectors, stage), more))
        print("\n".join(rows[-2:]), json.dumps(trained.state.curve[-1]), flush=True)
    return rows


def configured(settings: list[str]) -> TrainingConfig:
    """`fit.batch_users=64` style settings over the defaults."""
    config: dict[str, Any] = {}
    for setting in settings:
        path, _, value = setting.partition("=")
        group, _, key = path.partition(".")
        config.setdefault(group, {})[key] = json.loads(value) if value[0] in "0123456789tf[" else value
    return TrainingConfig.model_validate(config)


def main() -> None:
    """Parse, load once, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("channels", nargs="+")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone", default="minilm-transrec")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--zero-shot", action="store_true", help="no training")
    args = parser.parse_args()
    backbone: Backbone = load_backbone(args.backbone, pick_device())
    rows = [
        "| channel | method | split | HR@10 | NDCG@10 | cold HR@10 (users) | |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in args.channels:
        on = subject(backbone, corpus_of(name, args.data, backbone.model.config.length))
        rows += measure(on, configured(args.settings), not args.zero_shot)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
