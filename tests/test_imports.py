"""Who may import whom: the layers of the package, the catalogue's public-names-only rule, and what stays unloaded."""

import ast
import functools
import graphlib
import importlib
import importlib.util
import subprocess
import sys
import types
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

PACKAGE = ROOT / "fwdgrad"
CATALOGUE = ROOT / "systems"

# A module or package directly under fwdgrad → its layer. An import goes from a higher layer to a lower one, or stays
# inside one package. Imports inside functions and for type checking count like any other.
LAYERS = {
    # what everybody may use
    "_version": 0,
    "errors": 0,
    "support": 1,
    # a function as a straight-line program, and its derivatives
    "program": 2,
    # what runs programs; what a system is made of; data
    "engines": 3,
    "integrate": 3,
    "outside": 3,
    "losses": 3,
    "plots": 3,
    "streams": 3,
    # what follows from the structure of programs; what a user declares; ways to declare it
    "structure": 4,
    "system": 5,
    "declare": 6,
    "filtering": 6,
    "panels": 6,
    # the linearised step; how ∂h/∂θ is represented; how gradients change parameters; named algorithms
    "linear": 7,
    "influence": 8,
    "optimizers": 8,
    "estimators": 9,
    # the choice of an algorithm; the online loop; other recursions of the same kind
    "analysis": 10,
    "learning": 11,
    "beyond": 12,
    # what is done with learners
    "fitting": 13,
    "checks": 13,
    "comparison": 13,
    "sweeps": 13,
    "exporting": 13,
    # the limit of small steps; conformance of what others write
    "limits": 14,
    "testing": 14,
    # the public names, and the catalogue that is written with them alone
    "__init__": 15,
    "systems": 15,
    # what the papers did, written with public names too; what makes the library look like others
    "experiments": 16,
    "adapters": 16,
    # the command line
    "cli": 17,
}

# (importer, imported), both of one layer.
ALLOWED: set[tuple[str, str]] = set()

EXEMPT = {"__init__", "__main__", "_version"}  # as importers

HEAVY = ("matplotlib", "llvmlite", "sympy", "networkx", "scipy.stats", "scipy.optimize", "scipy.integrate")
"""What no learner needs."""

LOADED_LATER = (*HEAVY, "autograd", "numpy", "scipy")
"""What is not loaded before a public name is asked for."""


def source_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@functools.cache
def parsed(source: str) -> ast.Module:
    """The tree of a file, which several tests walk through."""
    return ast.parse(source)


@functools.cache
def top_level_names() -> set[str]:
    """The modules and packages directly under fwdgrad, the catalogue among them."""
    files = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in source_files(PACKAGE)}
    return files | {"systems"}


def imported_names(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and top-level name of everything that a module of the package `package` imports from fwdgrad.

    ``import fwdgrad`` and ``from fwdgrad import Learner`` import "__init__".
    """
    modules = top_level_names()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            root, *rest = target.split(".")
            if root == "fwdgrad":
                yield node.lineno, rest[0] if rest and rest[0] in modules | LAYERS.keys() else "__init__"


def layer_violations(source: str, path: str) -> list[str]:
    """The imports in `source`, which stands in fwdgrad/`path`, that do not point down."""
    parts = Path(path).with_suffix("").parts
    importer = parts[0]
    found = []
    for line, imported in imported_names(source, ".".join(("fwdgrad", *parts[:-1]))):
        if imported in (importer, *(EXEMPT - LAYERS.keys())):
            continue
        unplaced = [name for name in (importer, imported) if name not in LAYERS]
        if unplaced:
            found.append(f"fwdgrad/{path}:{line}: place {unplaced[0]!r} in LAYERS, in tests/test_imports.py")
        elif LAYERS[imported] >= LAYERS[importer] and (importer, imported) not in ALLOWED:
            found.append(
                f"fwdgrad/{path}:{line}: {importer} (layer {LAYERS[importer]}) "
                f"may not import {imported} (layer {LAYERS[imported]})"
            )
    return found


def private_uses(source: str, path: str, public: Collection[str]) -> list[str]:
    """What `source`, which stands in systems/`path`, uses of fwdgrad beyond the names in `public`."""
    tree = parsed(source)
    depth = len(Path(path).parts)  # the most dots a relative import may have without leaving the catalogue
    aliases = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name for alias in node.names if alias.name == "fwdgrad"}
            used = [alias.name for alias in node.names if alias.name.startswith(("fwdgrad.", "systems."))]
            used += [alias.name for alias in node.names if alias.name == "systems"]
        elif isinstance(node, ast.ImportFrom) and node.level:
            used = ["." * node.level + (node.module or "")] if node.level > depth else []
        elif isinstance(node, ast.ImportFrom) and node.module == "fwdgrad":
            used = [f"fwdgrad.{alias.name}" for alias in node.names if alias.name not in public]
        elif isinstance(node, ast.ImportFrom):
            used = [node.module] if node.module and node.module.split(".")[0] in ("fwdgrad", "systems") else []
        else:
            continue
        found += [f"systems/{path}:{node.lineno}: {name}" for name in used]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            found += [f"systems/{path}:{node.lineno}: fwdgrad.{node.attr}"] if node.attr not in public else []
    return found


# ---- what stays unloaded


def loaded(statement: str, among=LOADED_LATER) -> set[str]:
    """Those of some packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*(name for name in {among!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_fwdgrad_loads_nothing_else():
    assert loaded("import fwdgrad") == set()


def test_a_learner_needs_no_heavy_package():
    made = "import fwdgrad as fg; from fwdgrad import systems; fg.Learner(systems.van_der_pol()).run(ys=[[1.0, 0.0]])"
    assert loaded(f"import warnings; warnings.simplefilter('ignore'); {made}", HEAVY) == set()


def test_a_loaded_heavy_package_is_seen():
    assert loaded("import sympy", HEAVY) == {"sympy"}


def test_every_public_name_is_there_whatever_was_loaded_before():
    """A function and a package of one name would hide each other; what is not there is said with what is near."""
    names = "assert callable(fg.check) and callable(fg.compare) and callable(fg.fit) and callable(fg.refine)"
    loaded(f"import fwdgrad.cli, fwdgrad.checks, fwdgrad.comparison, fwdgrad as fg; {names}")
    loaded("import fwdgrad as fg; [getattr(fg, name) for name in fg.__all__]; assert {*fg.__all__} <= {*dir(fg)}")
    loaded("from fwdgrad import *; System, check, __version__")
    with pytest.raises(AttributeError, match="Did you mean 'Learner'"):
        importlib.import_module("fwdgrad").Lerner  # noqa: B018


def test_no_module_has_the_name_of_a_public_function():
    """Importing it would put it in the place of the function."""
    import fwdgrad

    modules = {name for name in fwdgrad.__all__ if name in top_level_names()}
    assert all(isinstance(getattr(fwdgrad, name), types.ModuleType) for name in modules)


# ---- layers


def test_every_module_has_a_layer():
    unplaced = sorted(top_level_names() - LAYERS.keys() - EXEMPT)
    assert not unplaced, (
        f"Place {', '.join(f'fwdgrad.{name}' for name in unplaced)} in LAYERS, in tests/test_imports.py: above "
        "everything it imports, below everything that imports it."
    )


def test_allowed_pairs_are_of_one_layer_and_make_no_cycle():
    below = graphlib.TopologicalSorter()
    for importer, imported in ALLOWED:
        assert LAYERS[importer] == LAYERS[imported], f"{importer} and {imported} are not of one layer"
        below.add(importer, imported)
    below.prepare()  # raises CycleError


def test_imports_point_one_way():
    found = []
    for file in source_files(PACKAGE):
        path = file.relative_to(PACKAGE)
        if path.with_suffix("").parts[0] not in EXEMPT:
            found += layer_violations(file.read_text(encoding="utf-8"), path.as_posix())
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "import fwdgrad.program"),
        ("system/declaration.py", "from fwdgrad.learning.learner import Learner"),
        ("system/declaration.py", "from ..learning.learner import Learner"),
        ("system/declaration.py", "def f():\n    from fwdgrad import learner"),
        ("program/tracer.py", "from ..structure.units import units"),
        ("losses/base.py", "from fwdgrad.system import System"),
        ("estimators/named.py", "import fwdgrad.learning.samples"),
        ("optimizers/adam.py", "from .. import estimators"),
        ("learning/learner.py", "import fwdgrad as fg"),
        ("learning/learner.py", "from fwdgrad import System"),
        ("plots.py", "from fwdgrad.systems import catalogue"),
        ("newcomer.py", "from fwdgrad.errors import FwdgradError"),
    ],
)
def test_a_wrong_import_is_found(path, source):
    assert len(layer_violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("program/tracer.py", "from fwdgrad.program.operations import Operation\nfrom . import program"),
        ("program/__init__.py", "from .tracer import trace"),
        ("system.py", "from fwdgrad.losses import SquaredError"),
        ("learning/learner.py", "from fwdgrad import errors\nfrom ..influence.exact import Exact"),
        ("learning/checkpoint.py", "from fwdgrad._version import __version__"),
        ("cli.py", "import fwdgrad as fg\nfrom fwdgrad import systems, learner"),
        ("plots.py", "import numpy, fwdgradient"),
    ],
)
def test_a_right_import_is_not_found(path, source):
    assert layer_violations(source, path) == []


# ---- circles, inside packages too


def arrows(files: dict[str, str]) -> dict[str, set[str]]:
    """Module → the modules it imports anywhere in its text, for sources by module name ("fwdgrad.program.tracer")."""
    found: dict[str, set[str]] = {}
    known = {*files, *(n.removesuffix(".__init__") for n in files)}
    for name, source in files.items():
        package = name if name.endswith(".__init__") else name.rpartition(".")[0]
        package = package.removesuffix(".__init__")
        found[name] = set()
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                targets = [t if t in known else base for t in (f"{base}.{alias.name}" for alias in node.names)]
            else:
                continue
            for target in targets:
                module = target if target in files else f"{target}.__init__"
                if module in files and module != name:
                    found[name].add(module)
    return found


def circle(found: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of imports, if there is one."""
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_imports_anywhere():
    files = {}
    for file in source_files(PACKAGE):
        name = ".".join(("fwdgrad", *file.relative_to(PACKAGE).with_suffix("").parts))
        if name != "fwdgrad.__init__":  # where everybody begins
            files[name] = file.read_text(encoding="utf-8")
    assert len(files) > 300
    assert not circle(arrows(files))


@pytest.mark.parametrize(
    "other",
    [
        "from fwdgrad.a.one import f",
        "def g():\n    from fwdgrad.a import one",
        "from .one import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fwdgrad.a.one import F",
    ],
)
def test_a_circle_is_found(other):
    files = {"fwdgrad.a.__init__": "", "fwdgrad.a.one": "from fwdgrad.a.two import h", "fwdgrad.a.two": other}
    assert {"fwdgrad.a.one", "fwdgrad.a.two"} <= {*circle(arrows(files))}
    assert not circle(arrows({**files, "fwdgrad.a.two": "import numpy"}))


# ---- sizes


LINES_OF_A_FUNCTION, LINES_OF_A_CLASS, MODULES_AT_THE_TOP = 80, 300, 6

LONG_CLASSES = {
    "learning/learner.py Learner": "what users hold: most of its lines hand something on, and say what is wrong",
    "learning/loops/refitting.py Refitting": "when first samples are fitted again, and what of it is taken over",
    "fitting/result.py Fit": "one result, shown in seven ways",
    "engines/compiled_engine/c_translating.py _Function": "one case for each form of the language",
}
"""Classes that are longer, docstrings not counted; the reasons stand in docs/design.md too."""


def lines_without_docstrings(node: Any) -> int:
    """The lines of a definition, without docstrings; those of a short one are not counted out."""
    lines = node.end_lineno - node.lineno + 1
    if lines <= LINES_OF_A_FUNCTION:
        return lines
    documented = (ast.FunctionDef, ast.ClassDef)
    texts = [n.body[0] for n in ast.walk(node) if isinstance(n, documented) and ast.get_docstring(n) is not None]
    return lines - sum(t.end_lineno - t.lineno + 1 for t in texts)


def too_long(source: str, path: str) -> set[str]:
    """What is longer than a screen, or a sitting, in a file."""
    found = set()
    for node in ast.walk(parsed(source)):
        most = LINES_OF_A_CLASS if isinstance(node, ast.ClassDef) else LINES_OF_A_FUNCTION
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and lines_without_docstrings(node) > most:
            found.add(f"{path} {node.name}")
    return found


def test_functions_fit_a_screen_and_classes_a_sitting():
    found = set()
    for file in source_files(PACKAGE):
        found |= too_long(file.read_text(encoding="utf-8"), file.relative_to(PACKAGE).as_posix())
    assert found <= set(LONG_CLASSES), "shorten it, or say why not, here and in docs/design.md"
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert all(f"`{name.split()[1]}`" in page for name in LONG_CLASSES)


def test_a_long_function_is_found():
    body = "\n".join(f"    x{k} = {k}" for k in range(LINES_OF_A_FUNCTION))
    told = "\n".join(['    """Told at length.', *["    more"] * 100, '    """'])
    assert too_long(f"def f():\n{body}", "a.py") == {"a.py f"}
    assert not too_long(f"def f():\n{told}\n    return 1", "a.py")


def test_few_modules_lie_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= MODULES_AT_THE_TOP


# ---- the catalogue


def test_tests_lie_in_folders_named_like_packages():
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - packages == {"catalogue", "examples", "data", "tools"}


def test_the_catalogue_uses_public_names_only():
    import fwdgrad

    found = []
    for file in source_files(CATALOGUE):
        path = file.relative_to(CATALOGUE).as_posix()
        found += private_uses(file.read_text(encoding="utf-8"), path, fwdgrad.__all__)
    assert not found, "Not in fwdgrad.__all__:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("gru.py", "import fwdgrad.system"),
        ("gru.py", "from fwdgrad.system import System"),
        ("gru.py", "from fwdgrad import secret"),
        ("gru.py", "from fwdgrad import *"),
        ("gru.py", "import fwdgrad as fg\nfg.secret(1)"),
        ("gru.py", "import fwdgrad\nfwdgrad.system.System"),
        ("gru.py", "from ..system import System"),
        ("gru.py", "from systems import lstm"),
        ("gru.py", "import systems.lstm"),
        ("cells/gru.py", "from ...system import System"),
    ],
)
def test_a_private_use_is_found(path, source):
    assert len(private_uses(source, path, ["System", "losses"])) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("gru.py", "import fwdgrad as fg\nsystem = fg.System(loss=fg.losses.SquaredError())"),
        ("gru.py", "from fwdgrad import System, losses"),
        ("gru.py", "from . import lstm\nfrom .cells import gate"),
        ("cells/gru.py", "from ..common import gate"),
        ("gru.py", "import numpy as np\nnp.secret"),
    ],
)
def test_a_public_use_is_not_found(path, source):
    assert private_uses(source, path, ["System", "losses"]) == []


def test_the_catalogue_is_installed_as_a_subpackage(tmp_path):
    # In another folder, so that the source tree is not on the path.
    code = "import fwdgrad.systems; print(fwdgrad.systems.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, f"Is fwdgrad installed (pip install -e .)?\n{done.stderr}"
    assert done.stdout.strip() == "fwdgrad.systems"
