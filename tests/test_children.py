"""Processes that work for this one: what they answer, and how they end."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from export.children import Child
from export.runtime import ModelFileError

HEAD = "import json, os, signal, sys, time\n"
ECHO = "print(sys.argv[1], flush=True)\nfor line in sys.stdin: print(line, end='', flush=True)\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Returns a function that makes a module which a child can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(source):
        (tmp_path / "program.py").write_text(HEAD + source)
        return "program"

    return make


def is_gone(pid, seconds=10.0):
    """A process has ended, or does so soon; one that its parent has not collected has ended too."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_a_child_gets_its_argument_and_answers_requests(module):
    with Child(module(ECHO), {"a": [1]}, "m.tflite") as child:
        assert child.answer() == {"a": [1]}
        assert child.ask(7) == 7
        assert child.ask(["b", None]) == ["b", None]


def test_a_child_finds_the_package_from_a_folder_that_has_another(tmp_path, monkeypatch):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "__init__.py").write_text("raise SystemExit('another export')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match="^no.tflite: the model cannot be run: "):
        with Child("export.worker", {"path": "no.tflite"}, "no.tflite") as child:
            child.answer()


@pytest.mark.parametrize(
    ("source", "death"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.abort()", "SIGABRT"),
        ("raise ValueError('broken')", "exit code 1"),
        ("print('{\"half an answ', end='')", "exit code 0"),
    ],
)
def test_a_child_that_dies_names_the_model(module, source, death):
    with Child(module(source), None, "m.tflite") as child:
        with pytest.raises(ModelFileError) as raised:
            child.answer()
    assert str(raised.value) == f"m.tflite: the process that runs the model died: {death}"


def test_a_child_that_dies_between_requests_names_the_model(module):
    with Child(module("print(os.getpid(), flush=True)\ninput()\n"), None, "m.tflite") as child:
        pid = child.answer()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ModelFileError, match="^m.tflite: .* died: SIGKILL$"):
            child.ask(1)


def test_a_child_that_fails_says_why(module):
    with Child(module("print(json.dumps({'error': 'no such type'}))"), None, "m.tflite") as child:
        with pytest.raises(ModelFileError) as raised:
            child.answer()
    assert str(raised.value) == "m.tflite: the model cannot be run: no such type"


def test_a_child_that_hangs_is_given_up(module):
    program = module("print(os.getpid(), flush=True)\ntime.sleep(600)\n")
    with Child(program, None, "m.tflite", patience=1.0) as child:
        pid = child.answer()
        with pytest.raises(ModelFileError) as raised:
            child.ask(1)
    assert str(raised.value) == "m.tflite: no answer in 1 s from the process that runs the model"
    assert is_gone(pid)


def test_leaving_the_context_ends_a_busy_child(module):
    program = module("print(os.getpid(), flush=True)\nwhile True: pass\n")
    with pytest.raises(KeyboardInterrupt):
        with Child(program, None, "m.tflite") as child:
            pid = child.answer()
            raise KeyboardInterrupt
    assert is_gone(pid)


def test_a_child_does_not_outlive_a_killed_parent(module):
    program = module("print(os.getpid(), flush=True)\nfor line in sys.stdin: pass\n")
    code = (
        "import os, signal\nfrom export.children import Child\n"
        f"print(Child({program!r}, None, 'm.tflite').answer(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert is_gone(int(done.stdout))
