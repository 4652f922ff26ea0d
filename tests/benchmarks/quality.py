"""HR@10 / NDCG@10 on the test split of what a user would pick, and of what this service makes by itself.

python -m tests.benchmarks.quality pastry deli amazon_scientific --data DIR [--out build/quality.jsonl]

A name is a retail department (pastry, deli, nutrition, ...) or a source in DIR. Each row is kept in --out as
soon as it is measured, and not measured again; --rectools PYTHON adds the SASRec of RecTools, run by it.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.model.backbone import Backbone, load_backbone
from app.model.device import pick_device
from app.model.methods import AdapterConfig
from app.model.residual import ITEMS
from tests.benchmarks.sasrec import run_sasrec
from training.baselines import BASELINES
from training.dataset import Corpus, build_corpus
from training.evaluate import Evaluation, evaluate
from training.finetune import Subject, TrainingConfig, finetune, subject
from training.fit import FitConfig, StepReport
from training.idrec import train_idrec
from training.sources import read_retail, read_tsv

RETAIL = ("pastry", "deli", "nutrition", "cosmetics")
IDREC = FitConfig(batch_users=128, learning_rate=3e-3, max_epochs=60, eval_users=2000)


@dataclass(frozen=True)
class Row:
    """One method on one channel; `seconds` of training, encoding and evaluation together."""

    channel: str
    method: str
    hr10: float
    hr10_se: float
    ndcg10: float
    ndcg10_se: float
    cold_hr10: float
    cold_users: int
    trainable: int = 0
    seconds: float = 0.0
    note: str = ""

    def markdown(self) -> str:
        """As a line of the table."""
        hr10, ndcg10 = (
            f"{self.hr10:.4f} ± {self.hr10_se:.4f}",
            f"{self.ndcg10:.4f} ± {self.ndcg10_se:.4f}",
        )
        cold = f"{self.cold_hr10:.4f} ({self.cold_users})"
        trainable = f"{self.trainable:,}" if self.trainable else ""
        return (
            f"| {self.channel} | {self.method} | {hr10} | {ndcg10} | {cold} | {trainable} | "
            f"{self.seconds:.0f} | {self.note} |"
        )


Measured = tuple[Evaluation, int, str]
"""What was found on the test split, how many parameters were trained, a note."""


def corpus_of(name: str, data: Path | None, length: int) -> Corpus:
    """A source in the folder if it is there, else a department of the retailer."""
    if data and (data / f"{name}.items.tsv.gz").is_file():
        source = read_tsv(data, name)
    else:
        source = read_retail(name.upper())
    return build_corpus(name, source.items, source.sequences, length)


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


def zero_shot(on: Subject) -> Measured:
    """The bare backbone."""
    bare = on.backbone.model
    return on.evaluate(bare, on.encode(bare), "test"), 0, ""


def idrec(on: Subject) -> Measured:
    """SASRec on ids by our own code: a table of items, trained as an adapter is."""
    trained = train_idrec(on.corpus, IDREC, popularity_prior=True, on_step=Printer())
    size = sum(p.numel() for p in trained.model.parameters())
    return trained.evaluate("test"), size, f"{len(trained.state.curve)} epochs"


def adapter(on: Subject, config: TrainingConfig) -> Measured:
    """An adapter, as a training job makes it."""
    trained = finetune(on, config, Printer())
    best = max(point["ndcg10"] for point in trained.state.curve)
    print(f"  validation NDCG@10 {best:.4f}, prior {trained.weights['prior/weight'].item():.2f}", flush=True)
    size = sum(tensor.numel() for name, tensor in trained.weights.items() if name != ITEMS)
    found = on.evaluate(trained.model, trained.vectors, "test")
    return found, size, f"{len(trained.state.curve)} epochs"


def methods(args: argparse.Namespace) -> dict[str, Callable[[Subject], Measured]]:
    """Every row of the table by its name."""
    fit, slow = configured(args.settings), {"max_seconds": args.seconds}

    def job(adapter_config: dict[str, Any] | None, limits: dict[str, Any]) -> Callable[[Subject], Measured]:
        asked = {**fit, "fit": {**limits, **fit.get("fit", {})}}
        asked |= {} if adapter_config is None else {"adapter": adapter_config}
        return lambda on: adapter(on, TrainingConfig.model_validate(asked))

    def baseline(name: str) -> Callable[[Subject], Measured]:
        return lambda on: (evaluate(on.corpus, "test", BASELINES[name](on.corpus, "test")), 0, "")

    found: dict[str, Callable[[Subject], Measured]] = {name: baseline(name) for name in BASELINES}
    found |= {"idrec": idrec}
    if args.rectools:
        found["sasrec"] = lambda on: run_sasrec(args.rectools, on.corpus)
    return found | {
        "zero-shot": zero_shot,
        "fta": job({"method": "fta"}, slow),
        "houlsby": job(AdapterConfig().model_dump(exclude_none=True), slow),
        "side": job({"method": "side"}, {}),
        "recommended": job(None, {}),
    }


def configured(settings: list[str]) -> dict[str, Any]:
    """`fit.batch_users=64` style settings over the defaults."""
    config: dict[str, Any] = {}
    for setting in settings:
        path, _, value = setting.partition("=")
        group, _, key = path.rpartition(".")
        where = config.setdefault(group, {}) if group else config
        where[key] = json.loads(value) if value[0] in "0123456789tf[" else value
    return config


def read_rows(out: Path) -> list[Row]:
    """What has been measured."""
    return [Row(**json.loads(line)) for line in out.read_text().splitlines()] if out.is_file() else []


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("channels", nargs="*", default=RETAIL)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone", default="minilm-transrec")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="fit.batch_users=64")
    parser.add_argument("--methods", nargs="*", help="some of the rows only")
    parser.add_argument("--seconds", type=float, default=600, help="most of training fta and houlsby")
    parser.add_argument("--rectools", type=Path, help="an interpreter that has RecTools")
    parser.add_argument("--out", type=Path, default=Path("build/quality.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    backbone: Backbone = load_backbone(args.backbone, pick_device())
    for channel in args.channels:
        done = {row.method for row in read_rows(args.out) if row.channel == channel}
        asked = methods(args)
        wanted = [name for name in args.methods or asked if name not in done]
        if wanted:
            on = subject(backbone, corpus_of(channel, args.data, backbone.model.config.length))
        for name in wanted:
            print(f"{channel}: {name}", flush=True)
            started = time.monotonic()
            found, trainable, note = asked[name](on)
            o, seconds = found.overall, time.monotonic() - started
            figures = (o.hr10, o.hr10_se, o.ndcg10, o.ndcg10_se, found.cold.hr10)
            row = Row(channel, name, *figures, found.cold.users, trainable, seconds, note)
            with args.out.open("a") as out:
                out.write(json.dumps(asdict(row)) + "\n")
    print("| channel | method | HR@10 | NDCG@10 | cold HR@10 (users) | trainable | seconds | |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(row.markdown() for row in read_rows(args.out) if row.channel in args.channels))


if __name__ == "__main__":
    main()
