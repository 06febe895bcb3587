"""Who may import whom: `hwkeras` <- `export` <- `cli`, read from the source and from processes."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

BACKENDS = {"tensorflow", "jax", "torch"}
PURE = {f"hwkeras.{name}" for name in ("plan", "planning", "ranking", "cost", "latency", "order")}


def sources(*places: str) -> list[Path]:
    """Returns the Python files of these folders and files, those that exist."""
    found = []
    for place in places:
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path] * path.is_file()
    return found


def name_of(node: ast.ImportFrom, package: str) -> str:
    """Returns the module that is imported from, whole also where it is written with dots."""
    if not node.level:
        return node.module or ""
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def imports(source: str, package: str = "", top_only: bool = False) -> list[str]:
    """Returns what a source imports: `a.b` for `import a.b`, `a.b` for `from a import b`.

    Args:
        package: that the source is in, for imports with dots.
        top_only: leave out what runs only when a function is called, or when types are checked.
    """
    found = []

    def visit(node):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend(f"{name_of(node, package)}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called, first = ast.unparse(node.func), node.args[0]
            dynamic = called.split(".")[-1] in ("import_module", "__import__")
            if dynamic and isinstance(first, ast.Constant):
                found.append(str(first.value))
        if top_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        children = ast.iter_child_nodes(node)
        if top_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            children = iter(node.orelse)
        for child in children:
            visit(child)

    visit(ast.parse(source))
    return found


def private_names(source: str, package: str) -> list[str]:
    """Returns the names with a leading underscore that a source takes from another package."""
    names = [
        name
        for name in imports(source)
        if name.split(".")[0] == package and any(part[:1] == "_" for part in name.split(".")[1:])
    ]
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).split(".")[0] == package
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            base = ast.unparse(node.value)
            if base.split(".")[0] in modules and not node.attr.startswith("__"):
                names.append(f"{base}.{node.attr}")
    return names


def roots(path: Path, **options) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    return {name.split(".")[0] for name in imports(path.read_text(), package, **options)}


def test_there_is_something_to_read():
    assert ROOT / "hwkeras" / "layers.py" in sources("hwkeras")


@pytest.mark.parametrize("path", sources("hwkeras"), ids=lambda path: path.name)
def test_hwkeras_imports_no_leaf_and_no_backend(path):
    # Their training steps are TensorFlow's own kernels, where that is what trains.
    own_kernels = path.name in ("norm.py", "conv.py")
    backends = BACKENDS - {"tensorflow"} if own_kernels else BACKENDS
    assert not roots(path) & {"export", "cli", "tests", "benchmarks", *backends}
    assert not roots(path, top_only=True) & BACKENDS


@pytest.mark.parametrize("path", sources("export"), ids=lambda path: path.name)
def test_export_imports_only_public_names_of_hwkeras(path):
    assert not roots(path) & {"cli", "tests", "benchmarks"}
    assert private_names(path.read_text(), "hwkeras") == []


@pytest.mark.parametrize("path", sources("hwkeras", "export", "benchmarks"), ids=lambda p: p.name)
def test_nobody_imports_the_command_line(path):
    assert "cli" not in roots(path)


@pytest.mark.parametrize("path", sources("hwkeras", "export", "cli.py"), ids=lambda p: p.name)
def test_nobody_imports_the_process_that_speaks_keras_2(path):
    child = path.is_relative_to(ROOT / "export" / "retrain")
    foreign = {"tensorflow_model_optimization", "tf_keras"}
    assert child or not roots(path) & foreign
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    names = imports(path.read_text(), package)
    assert child or not [name for name in names if f"{name}.".startswith("export.retrain.")]


@pytest.mark.parametrize("path", sources("cli.py"), ids=lambda path: path.name)
def test_the_command_line_imports_only_click_at_the_top(path):
    assert roots(path, top_only=True) <= {"click", *sys.stdlib_module_names}
    assert private_names(path.read_text(), "hwkeras") == []
    assert private_names(path.read_text(), "export") == []


@pytest.mark.parametrize("name", sorted(PURE))
def test_plans_need_numpy_and_the_standard_library_only(name):
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    for found in imports(path.read_text(), "hwkeras"):
        if found.split(".")[0] == "hwkeras":
            assert any(f"{found}.".startswith(f"{pure}.") for pure in PURE), found
        else:
            assert found.split(".")[0] in {"numpy", *sys.stdlib_module_names}, found


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_plans_load_no_machine_learning():
    loaded = modules_loaded_by("import hwkeras.plan")
    assert "numpy" in loaded
    assert not loaded & {"keras", *BACKENDS}


def test_the_processes_that_hold_models_load_the_runtime_only():
    loaded = modules_loaded_by("import export.worker, export.profiler")
    assert {"numpy", "ai_edge_litert"} <= loaded
    assert not loaded & {"keras", "hwkeras", *BACKENDS}


def test_timing_loads_no_training():
    loaded = modules_loaded_by("import export.bench, export.text")
    assert not loaded & {"keras", *BACKENDS}


@pytest.mark.skipif(not sources("cli.py"), reason="there is no cli.py yet")
def test_the_command_line_loads_nothing_heavy():
    loaded = modules_loaded_by("import cli")
    assert "click" in loaded
    assert not loaded & {"keras", "numpy", *BACKENDS}


SOURCE = """
import os, a.b as c
from __future__ import annotations
from d import e as f, g
from . import h
from .i import j
from ..k import l
import importlib
importlib.import_module("m.n")
if TYPE_CHECKING:
    import types_only
else:
    import unless_checking
try:
    import tried
except ImportError:
    pass
class C:
    import in_class
    def method(self):
        import in_method
def function():
    from in_function import x
"""


def test_imports_are_read_wherever_they_stand():
    always = [
        "os", "a.b", "__future__.annotations", "d.e", "d.g", "p.q.h", "p.q.i.j", "p.k.l",
        "importlib", "m.n", "unless_checking", "tried", "in_class",
    ]  # fmt: skip
    assert sorted(imports(SOURCE, "p.q", top_only=True)) == sorted(always)
    later = ["types_only", "in_method", "in_function.x"]
    assert sorted(imports(SOURCE, "p.q")) == sorted(always + later)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from hwkeras.plan import __doc__", ["hwkeras.plan.__doc__"]),
        ("from hwkeras.plan import _dump as dump", ["hwkeras.plan._dump"]),
        ("from hwkeras import _inner", ["hwkeras._inner"]),
        ("import hwkeras._inner.x", ["hwkeras._inner.x"]),
        ("import hwkeras.plan\nhwkeras.plan._dump()", ["hwkeras.plan._dump"]),
        ("from hwkeras import plan\nplan._dump()", ["plan._dump"]),
        ("import hwkeras\nhwkeras.__version__", []),
        ("import other\nother._own()\nfrom other import _own", []),
    ],
)
def test_private_names_are_found(source, found):
    assert private_names(source, "hwkeras") == found
