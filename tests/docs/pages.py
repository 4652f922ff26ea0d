"""Runs a page as a reader would, in order: bash blocks in one shell, Python blocks in one interpreter.

A `json` or `text` block is what the block before it must have printed; `...` stands for anything, and white
space does not count. A block is left out only by `<!-- skip: next "reason" -->` above it.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from markdown_it import MarkdownIt
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

LANGUAGES = ("bash", "python", "json", "text")
SECONDS = 180.0
REASONED = re.compile(r'<!-- skip: next ".{10,}" -->\s*')
_DONE = "=== done ==="


class Shell:
    """One bash for all blocks of a page, which ends at the first command that fails."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._errors = folder, folder / ".stderr"
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=dict(environment), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.run("set -euo pipefail")

    def run(self, commands: str) -> str:
        """What the commands print, but for errors; fails with both when one fails, or after `SECONDS`."""
        script = self._folder / ".block.sh"
        script.write_text(f"{commands}\n")
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"source {script} </dev/null 2>{self._errors}; printf '\\n%s\\n' '{_DONE}'\n")
        self._bash.stdin.flush()
        watchdog = threading.Timer(SECONDS, self._bash.kill)
        watchdog.start()
        said: list[str] = []
        for line in self._bash.stdout:
            if line.strip() == _DONE:
                watchdog.cancel()
                return "".join(said)
            said.append(line)
        watchdog.cancel()
        shown = f"{commands}\n{''.join(said)}{self._errors.read_text()}"
        raise AssertionError(f"bash ended with status {self._bash.wait()}:\n{shown}")

    def environment(self) -> dict[str, str]:
        """The variables that it exports."""
        pairs = self.run("env -0").rstrip("\n\0").split("\0")
        return dict(pair.split("=", 1) for pair in pairs)

    def close(self) -> None:
        """End it."""
        self._bash.communicate()


class Reader:
    """Evaluates the blocks of one page, in a folder, and compares what they print."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.shell, self.printed = folder, Shell(folder, environment), ""
        self._python = PythonEvaluator()

    def read(self, page: Path) -> tuple[int, list[str]]:
        """Evaluate a page; returns how many blocks were, and the reasons of those left out."""
        evaluators = {"bash": self._bash_block, "python": self._python_block}
        parsers = [CodeBlockParser(name, evaluators.get(name, self._output)) for name in LANGUAGES]
        document = Sybil(parsers=[*parsers, SkipParser()]).parse(page)
        evaluated, left_out = 0, []
        try:
            for example in document.examples():
                try:
                    example.evaluate()
                    evaluated += example.region.evaluator in (*evaluators.values(), self._output)
                except SkipTest as reason:
                    left_out.append(str(reason))
        finally:
            _close(document.namespace)
        return evaluated, left_out

    def _bash_block(self, example: Example) -> None:
        self.printed = self.shell.run(str(example.parsed))

    def _python_block(self, example: Example) -> None:
        out = StringIO()
        with pytest.MonkeyPatch.context() as patch, chdir(self.folder), redirect_stdout(out):
            for name, value in self.shell.environment().items():
                patch.setenv(name, value)
            self._python(example)
        self.printed = out.getvalue()

    def _output(self, example: Example) -> None:
        assert matches(str(example.parsed), self.printed), (
            f"expected:\n{example.parsed}\nfound:\n{self.printed}"
        )


def _close(namespace: dict[str, Any]) -> None:
    """Close what the reader's interpreter would close at its end, such as HTTP clients."""
    for value in namespace.values():
        if isinstance(value, AbstractContextManager) and hasattr(value, "close"):
            value.close()


def matches(expected: str, printed: str) -> bool:
    """Whether it is what the page shows; `...` is anything, white space does not count."""
    parts = (re.escape(part) for part in "".join(expected.split()).split("..."))
    return re.fullmatch(".*".join(parts), "".join(printed.split()), re.DOTALL) is not None


def problems(text: str) -> list[str]:
    """Blocks of a page that would be run by nobody without saying why."""
    found = []
    for token in MarkdownIt("commonmark").parse(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "code_block":
            found.append(f"line {line}: an indented block; fence it, with its language")
        elif token.type == "fence" and token.info not in LANGUAGES:
            found.append(f"line {line}: the language is '{token.info}', not one of {', '.join(LANGUAGES)}")
        elif token.type == "html_block" and "skip" in token.content and not REASONED.fullmatch(token.content):
            found.append(f"line {line}: a block is left out without a reason")
    return found


def reader_environment(**more: str) -> dict[str, str]:
    """A shell's variables without our own settings, with `transrec` of this interpreter first in the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRANSREC_")}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | more
