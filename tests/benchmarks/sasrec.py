"""RecTools' SASRec on the same split. It wants versions of its own, so it runs in an interpreter of its own:

python -m venv sasrec && sasrec/bin/pip install torch 'rectools[torch]'

`run_sasrec` writes the sequences, runs this file there, and ranks what it recommends: items of the user's own
history are left out but for the target. Ties are not looked for: SASRec's scores of different ids differ.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

K, EPOCHS, PATIENCE = 10, 60, 5

if TYPE_CHECKING:
    from training.dataset import Corpus
    from training.evaluate import Evaluation


def run_sasrec(python: Path, corpus: "Corpus") -> tuple["Evaluation", int, str]:
    """Train and rank; what it found, parameters, epochs."""
    import numpy as np

    from training.evaluate import Evaluation
    from training.metrics import summarize

    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder) / "given.json", Path(folder) / "taken.json"
        windows = [window.tolist() for window in corpus.windows]
        given.write_text(json.dumps({"windows": windows, "length": corpus.length}))
        subprocess.run([str(python), __file__, str(given), str(taken)], check=True)
        found = json.loads(taken.read_text())
    ranks = np.full(len(corpus.windows), np.inf)
    for user, recommended in found["recommended"].items():
        target, own = corpus.targets("test")[int(user)], set(corpus.history(int(user), "test").tolist())
        ranked = [item for item in recommended if item == target or item not in own]
        if target in ranked[:K]:
            ranks[int(user)] = ranked.index(target) + 1
    cold = corpus.train_counts()[corpus.targets("test")] == 0
    note = f"{found['epochs']} epochs"
    return Evaluation(summarize(ranks), summarize(ranks[cold])), found["trainable"], note


def frame(sequences: list[list[int]]) -> Any:
    """RecTools' interactions."""
    import pandas as pd

    rows = [(user, item, place) for user, s in enumerate(sequences) for place, item in enumerate(s)]
    found = pd.DataFrame(rows, columns=["user_id", "item_id", "place"])
    found["datetime"], found["weight"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(found.place, "D"), 1
    return found.drop(columns="place")


def main(given: Path, taken: Path) -> None:
    """Fit on w[:-2] with w[-2] for early stopping, recommend after w[:-1]."""
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    asked = json.loads(given.read_text())
    windows, checkpoints = asked["windows"], tempfile.mkdtemp()
    stop = EarlyStopping("val_loss", patience=PATIENCE)
    best = ModelCheckpoint(checkpoints, monitor="val_loss", save_top_k=1)

    def last_of_each(interactions: Any) -> Any:
        place = interactions.groupby("user_id").datetime.rank(method="first", ascending=False)
        return (place == 1).to_numpy()

    model = SASRecModel(
        n_factors=64, n_blocks=2, n_heads=2, session_max_len=asked["length"], loss="softmax", lr=1e-3,
        batch_size=128, epochs=EPOCHS, get_val_mask_func=last_of_each,
        get_trainer_func=lambda **_: Trainer(
            max_epochs=EPOCHS, min_epochs=1, deterministic=True, accelerator="auto", callbacks=[stop, best],
            logger=False, enable_progress_bar=False, enable_model_summary=False,
        ),
    )  # fmt: skip
    model.fit(Dataset.construct(frame([w[:-1] for w in windows])))  # the last of each is for validation
    model.load_weights_from_checkpoint(model.fit_trainer.checkpoint_callback.best_model_path)
    history = Dataset.construct(frame([w[:-1] for w in windows]))
    users = list(range(len(windows)))
    most = K + max(map(len, windows))
    reco = model.recommend(users, history, k=most, filter_viewed=False, on_unsupported_targets="ignore")
    recommended = reco.sort_values(["user_id", "rank"]).groupby("user_id").item_id.apply(list)
    network = model.lightning_model.torch_model
    found = {
        "recommended": {str(u): [int(i) for i in items] for u, items in recommended.items()},
        "trainable": sum(p.numel() for p in network.parameters()),
        "epochs": model.fit_trainer.current_epoch,
    }
    taken.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
