"""One page of the documentation, run: its Python blocks in order, its shell lines between them.

Blocks of a page share their names, an event loop and an empty working directory. A block that
begins with `# name.py`, or has `title="name.py"`, is also written to that file, so that the
shell lines below it find it. `<!-- skip: next -->` skips a block; a comment that begins with
`<!-- invisible-code-block: python` runs without being shown.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from anyio.from_thread import BlockingPortal
from sybil import Document, Example, Region
from sybil.parsers.abstract.lexers import LexerCollection
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer
from sybil.typing import Evaluator

from tests.docs.command import problem_of

_FILE_NAME = re.compile(r"^# (?P<name>[\w/]+\.py)\b")
_TITLE = re.compile(r'title="(?P<name>[\w/.-]+)"')
_PYTHON = LexerCollection(
    [
        RawFencedCodeBlockLexer(re.compile(r"python(?P<arguments>[^\n]*)\n")),
        DirectiveInHTMLCommentLexer(directive="invisible-code-block", arguments="python"),
    ]
)
_SHELL = LexerCollection(
    [RawFencedCodeBlockLexer(re.compile(r"(?P<language>sh|bash|console)\b[^\n]*\n"))]
)

# Commands that end only when they are told to, or that have a test of their own.
_ENDLESS = {"dev", "demo", "bench", "completion", "scheduler", "top", "web"}


class Page:
    """A page in its working directory; `run` evaluates it from top to bottom."""

    def __init__(self, path: Path, folder: Path, portal: BlockingPortal, *, shell: bool) -> None:
        self._folder = folder
        self._portal = portal
        self._runs_shell = shell
        self._document = Document.parse(
            str(path),
            _Blocks(_PYTHON, self._python),
            _Blocks(_SHELL, self._shell),
            SkipParser(),
        )

    def run(self) -> None:
        """Evaluate every block; the first that fails raises with its place in the page."""
        module = ModuleType("page")
        sys.modules["page"] = module  # classes find the names of their annotations here
        self._document.namespace = module.__dict__
        try:
            for example in self._document.examples():
                example.evaluate()
        finally:
            del sys.modules["page"]

    def _python(self, example: Example) -> None:
        source = str(example.parsed)
        named = _FILE_NAME.match(source) or _TITLE.search(example.region.lexemes["arguments"])
        if named:
            target = self._folder / named["name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source, encoding="utf-8")
        first_line = example.line + example.parsed.line_offset
        code = compile(
            "\n" * first_line + source,
            example.path,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        answer = eval(code, example.namespace)  # noqa: S307 - running the page is the test
        if inspect.iscoroutine(answer):
            self._portal.call(lambda: answer)

    def _shell(self, example: Example) -> str | None:
        language = example.region.lexemes["language"]
        for line in commands(str(example.parsed), prompt=language == "console"):
            problem = problem_of(line)
            if problem:
                return f"{line}\n{problem}"
            if self._runs_shell and _ends_by_itself(line):
                problem = self._run_line(line)
                if problem:
                    return problem
        return None

    def _run_line(self, line: str) -> str | None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self._folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode == 0:
            return None
        return f"{line}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"


class _Blocks:
    """Turn what a lexer finds into examples for one evaluator."""

    def __init__(self, lexer: LexerCollection, evaluator: Evaluator) -> None:
        self._lexer = lexer
        self._evaluator = evaluator

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self._lexer(document):
            region.parsed = region.lexemes["source"]
            region.evaluator = self._evaluator
            yield region


def commands(block: str, *, prompt: bool) -> Iterator[str]:
    """Yield the commands of a shell block, continued lines joined, comments left out.

    With a prompt only what stands behind `$ ` is a command; the rest is what it printed.
    """
    for raw in block.replace("\\\n", " ").splitlines():
        line = raw.strip()
        if prompt and not line.startswith("$ "):
            continue
        line = line.removeprefix("$ ")
        if line and not line.startswith("#"):
            yield line


def _ends_by_itself(line: str) -> bool:
    words = shlex.split(line, comments=True)
    if not words or words[0] != "qrun":
        return False
    if "worker" in words:
        return "--burst" in words
    return _ENDLESS.isdisjoint(words)
