"""What the README says is what the committed files and the commands say."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

sys.path.insert(0, str(ROOT / "benchmarks"))


def test_the_tables_are_those_of_the_committed_reports():
    from readme import BLOCK, FILES, filled

    for name in FILES:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert BLOCK.search(text)
        assert filled(text) == text


def test_the_commands_exist():
    import cli

    named = set(re.findall(r"hwkeras (\w+) ", README)) - {"COMMAND"}
    assert named and named <= set(cli.main.commands)


def test_the_options_exist():
    import cli

    for line in re.findall(r"^ +hwkeras .*$", README, re.MULTILINE):
        command = line.split()[1]
        known = {o for p in cli.main.commands[command].params for o in p.opts}
        given = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line.split("#")[0]))
        assert given <= known, line


@pytest.mark.parametrize("path", sorted((ROOT / "results").rglob("*.json")), ids=lambda p: p.name)
def test_results_name_versions_and_no_machine_paths(path):
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["versions"]["keras"]
    assert not re.search(r'"/(tmp|home|root|work|Users)/', text)
