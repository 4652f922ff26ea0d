"""Two real processes that train together, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from app.model.backbone import load_backbone
from tests.fakes import ENCODER
from tests.training.conftest import chains
from tests.training.test_pretrain import write_source
from training import distributed
from training.dataset import build_corpus, epoch_batches
from training.finetune import subject
from training.fit import FitConfig, Run
from training.towers import PooledTower

FIT = FitConfig(batch_users=8, max_epochs=1, learning_rate=1e-2)


def begun(folder: Path) -> Run:
    """A run on the chains: DTL and user encoder of the tiny backbone."""
    on = subject(load_backbone(str(folder)), build_corpus("chains", *chains(), 20))
    model = on.backbone.model
    head = {k: p for k, p in model.named_parameters() if not k.startswith("item_encoder")}
    for parameter in head.values():
        parameter.requires_grad_(True)
    return Run(model, head, on.corpus, PooledTower(model, on.pooled()), FIT)


def main(folder: Path, out: Path) -> None:
    """One of the processes: train an epoch, write the weights and what it did."""
    with distributed.joined():
        run = begun(folder)
        steps = 0
        for steps, batch in enumerate(run._batches(), start=1):
            run.step(batch, steps - 1)
        weights = {k: p.detach() for k, p in run.trainable.items()}
        agreed = torch.tensor(distributed.agreed(float(os.environ["RANK"]) + 3))
        save_file(weights | {"steps": torch.tensor(steps), "agreed": agreed}, out / os.environ["RANK"])


def torchrun(*command: str) -> str:
    # A free port each, for tests that run side by side.
    where = ("--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *where, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_take_the_mean_of_their_gradients(backbone_folder: Path, tmp_path: Path) -> None:
    torchrun("-m", "tests.training.test_distributed", str(backbone_folder), str(tmp_path))
    one, other = load_file(tmp_path / "0"), load_file(tmp_path / "1")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert one.pop("agreed").tolist() == [3.0]
    # 60 users are 8 batches of 8: four steps of two.
    assert one.pop("steps") == 4
    alone = begun(backbone_folder)
    batches = list(epoch_batches(alone.corpus, FIT.batch_users, FIT.seed, 0))
    for number in range(4):
        alone.model.train()
        alone.model.item_encoder.eval()
        losses = []
        for batch in batches[2 * number : 2 * number + 2]:
            torch.manual_seed(number)
            losses.append(alone.loss(batch))
        alone.optimizer.zero_grad()
        torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
        alone.optimizer.step()
    for name, parameter in alone.trainable.items():
        torch.testing.assert_close(parameter.detach(), one[name], atol=2e-4, rtol=1e-3)


def test_pretraining_on_two_processes_writes_one_backbone(backbone_folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_source(tmp_path, name)
    recipe = tmp_path / "recipe.toml"
    encoder = f"directory:{backbone_folder / ENCODER.removeprefix('directory:')}"
    recipe.write_text(
        f'name = "new"\nencoder = "{encoder}"\npooling = "mean"\nsources = ["one", "two"]\nprior = 0.5\n'
        "top_layers = 1\n[frozen]\nbatch_users = 16\nmax_epochs = 2\n"
        "[top]\nbatch_users = 16\nmax_epochs = 1\n"
    )
    out = tmp_path / "out"
    said = torchrun("-m", "app.cli", "pretrain", str(recipe), "--data", str(tmp_path), "--out", str(out))
    assert said.count("two: test HR@10") == 1
    assert load_backbone(str(out)).fingerprint in said
    assert not (out / "checkpoint").exists()


def test_without_torchrun_there_is_one_process() -> None:
    with distributed.joined() as device:
        assert distributed.processes() == 1
        assert distributed.first()
        assert distributed.agreed(1.5, 2) == [1.5, 2]
        assert list(distributed.mine(range(3))) == [0, 1, 2]
    assert device.type in ("cpu", "cuda")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
