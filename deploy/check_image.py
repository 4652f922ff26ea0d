"""Build the Dockerfile and run what it makes, where no image can be pulled: `check_image.py [cpu|cuda]`.

buildah, from Debian, reads the Dockerfile as it is and executes every step. The base image is a bare Debian
with Python of the same version, made by mmdebstrap; what differs from `python:3.11-slim` is that this Python
is Debian's own. Needs root, mmdebstrap and buildah. Everything lies in a temporary folder.
"""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUITE = os.environ.get("SUITE", "bookworm")  # the Debian with Python 3.11
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")  # where apt is set up to find Debian
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
KEY = "tr_only-for-this-check"
STARTED = time.monotonic()


class Builder:
    """buildah, with its images in `work` and pip set up in a build as it is on this machine."""

    def __init__(self, work: Path) -> None:
        self.work = work
        policy, pip = work / "policy.json", work / "pip.conf"
        policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self._policy = f"--signature-policy={policy}"
        text = pip_settings()
        pip.write_text(text)
        self._mounts = [f"--volume={pip}:/etc/pip.conf:ro"]
        self._mounts += [f"--volume={path}:{path}:ro" for path in local_paths(text)]

    def command(self, *arguments: str) -> list[str]:
        """The command line of buildah."""
        storage = [f"--root={self.work}/images", f"--runroot={self.work}/run", "--storage-driver=overlay"]
        return ["buildah", *storage, *arguments]

    def __call__(self, *arguments: str) -> str:
        """Run buildah; returns what it prints."""
        return run(self.command(*arguments), capture=True)

    def base(self, tree: Path, name: str) -> None:
        """Make an image of a tree in a tar file."""
        container = self("from", self._policy, "scratch")
        self("add", "--quiet", container, str(tree), "/")
        self("commit", "--quiet", "--rm", self._policy, container, name)

    def build(self, target: str, name: str) -> None:
        """Build one target of the Dockerfile."""
        arguments = ["--format=docker", "--isolation=chroot", "--network=host", "--pull-never", "--layers"]
        index = f"--build-arg=TORCH_INDEX={os.environ.get('TORCH_INDEX', '')}"
        run(
            self.command(
                "bud",
                *arguments,
                self._policy,
                *self._mounts,
                index,
                f"--target={target}",
                f"--tag={name}",
                ".",
            )
        )

    def inside(self, image: str, *options: str) -> list[str]:
        """The command line that runs what follows in a new container of the image."""
        container = self("from", "--pull-never", self._policy, image)
        return self.command("run", "--isolation=chroot", "--network=host", *options, container, "--")


def main(target: str) -> None:
    """Build, then run what the image is for; ends with the first error."""
    check_tools()
    os.environ.pop("STORAGE_OPTS", None)
    with folder() as work:
        builder, tree, image = Builder(work), work / "debian.tar", f"localhost/transrec-serve:{target}"
        step(f"a bare Debian ({SUITE}) stands for python:3.11-slim")
        sources = [str(SOURCES)] if SOURCES.exists() else []
        run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={PACKAGES}",
                SUITE,
                str(tree),
                *sources,
            ]
        )
        builder.base(tree, "docker.io/library/python:3.11-slim")
        step(f"build --target {target}")
        builder.build(target, image)
        print(builder("images"))
        step("who it is; transrec version; transrec migrate")
        for command in (["id"], ["transrec", "version"], ["transrec", "migrate"]):
            print(run([*builder.inside(image), *command], capture=True))
        serve(builder, image)
        step("transrec worker, and SIGTERM")
        with running([*builder.inside(image), "transrec", "worker"], work / "worker.log"):
            wait_for_line(work / "worker.log", "waits for jobs")
    step("done")


def serve(builder: Builder, image: str) -> None:
    """`transrec serve`, a recommendation from outside, the image's HEALTHCHECK, an orderly end."""
    step("transrec serve: one recommendation, the HEALTHCHECK, SIGTERM")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    settings = [f"--env=TRANSREC_PORT={port}", "--env=TRANSREC_HOST=127.0.0.1"]
    log = builder.work / "serve.log"
    inside = builder.inside(image, *settings, f"--env=TRANSREC_OPERATOR_KEY={KEY}")
    with running([*inside, "transrec", "serve"], log):
        smoke = [sys.executable, str(ROOT / "deploy/smoke.py"), f"http://127.0.0.1:{port}"]
        run(smoke, env=os.environ | {"OPERATOR_KEY": KEY})
        _, *probe = json.loads(builder("inspect", "--type=image", image))["Docker"]["config"]["Healthcheck"][
            "Test"
        ]
        run([*builder.inside(image, *settings), *probe])
        print("HEALTHCHECK: healthy")


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder, emptied of mounts before it is removed."""
    path = Path(tempfile.mkdtemp(prefix="transrec-image-"))
    try:
        yield path
    finally:
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounted if m.startswith(f"{path}/")), reverse=True):
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A child while the block runs; SIGTERM must end it. Its log is shown when something fails."""
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(60)
    except BaseException:
        print(log.read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)


def wait_for_line(log: Path, words: str, limit: float = 120) -> None:
    """Until the log says so; raises `TimeoutError`."""
    end = time.monotonic() + limit
    while words not in log.read_text():
        if time.monotonic() > end:
            raise TimeoutError(f"The log never said '{words}'.")
        time.sleep(0.3)


def pip_settings() -> str:
    """pip's settings on this machine, from its files and its environment, as one file."""
    listed = run([sys.executable, "-m", "pip", "config", "list"], capture=True)
    found: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option != "constraint":  # ours is constraints.txt
            found[option] = ast.literal_eval(value).replace("\n", "\n  ")
    return "[global]\n" + "".join(f"{option} = {value}\n" for option, value in found.items())


def local_paths(settings: str) -> set[Path]:
    """Files and folders of this machine that the settings name.

    A folder by its second level: an index links to files that lie beside it.
    """
    paths = {Path(found) for found in re.findall(r"(?:(?<=\s)|(?<=file://))/[^\s]+", settings)}
    return {path if path.is_file() else Path(*path.parts[:3]) for path in paths if path.exists()}


def check_tools() -> None:
    """Raises SystemExit with the remedy when something is missing."""
    missing = [tool for tool in ("mmdebstrap", "buildah") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} missing: apt-get install mmdebstrap buildah")
    if os.geteuid() != 0:
        sys.exit("Run it as root: it makes a Debian tree and enters it.")


def run(command: list[str], *, capture: bool = False, env: dict[str, str] | None = None) -> str:
    """Run a command in the repository; returns its output when captured. Raises `CalledProcessError`."""
    done = subprocess.run(
        command, cwd=ROOT, env=env, check=True, text=True, stdout=subprocess.PIPE if capture else None
    )
    return (done.stdout or "").strip()


def step(title: str) -> None:
    """Say what comes next, and when."""
    print(f"\n[{time.monotonic() - STARTED:4.0f} s] {title}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
