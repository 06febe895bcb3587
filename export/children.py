"""Processes of their own that work for this one: start, ask, and never leave one behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from export.runtime import ModelFileError

PATIENCE_SECONDS = 120.0


class Child:
    """A Python process that answers in JSON lines: one when it is ready, one for each request.

    A context, which ends the process. The process ends by itself when this one is gone.

    Args:
        module: what it runs, as `python -m` does.
        argument: for the module, as JSON.
        path: the model that it is about, for messages.
        patience: seconds to wait for an answer.
    """

    def __init__(
        self, module: str, argument: Any, path: str | Path, patience: float = PATIENCE_SECONDS
    ):
        self._path, self._patience, self._hung = path, patience, False
        root = Path(__file__).resolve().parents[1]
        paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self._process = subprocess.Popen(
            # -P: a folder `export` in the working directory is none of ours
            [sys.executable, "-P", "-m", module, json.dumps(argument)],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, request: Any) -> Any:
        """Returns the answer to a request.

        Raises:
            ModelFileError: naming the model, if the process fails, dies or does not answer.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; `answer` says of what
        return self.answer()

    def answer(self) -> Any:
        """Returns the next answer; raises as `ask` does."""
        assert self._process.stdout
        watch = threading.Timer(self._patience, self._give_up)
        watch.daemon = True  # an interrupt before `try` must not keep this process waiting
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line.endswith("\n"):
            raise ModelFileError(f"{self._path}: {self._death()}")
        content = json.loads(line)
        if isinstance(content, dict) and "error" in content:
            raise ModelFileError(f"{self._path}: the model cannot be run: {content['error']}")
        return content

    def _give_up(self) -> None:
        self._hung = True
        self._process.kill()

    def _death(self) -> str:
        code = self._process.wait()
        if self._hung:
            return f"no answer in {self._patience:g} s from the process that runs the model"
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process that runs the model died: {reason}"
