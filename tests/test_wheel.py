"""What is shipped: the wheel holds the package and nothing else, the source distribution the whole project."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from places import ROOT

NO_SOURCE = shutil.ignore_patterns(
    ".?*cache", ".git", ".hypothesis", ".venv", "venv", "__pycache__", "*.pyc", "*.egg-info", "build", "dist", "_build"
)


def files_under(folder: Path) -> set[str]:
    """Every file below `folder`, as a path relative to the folder that holds `folder`."""
    return {path.relative_to(folder.parent).as_posix() for path in folder.rglob("*") if path.is_file()}


def build(kind: str, source: Path, output: Path) -> Path:
    """Build a 'wheel' or 'sdist' of `source` with the build requirements that are installed here."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}"
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the source tree: a build writes build/ and *.egg-info into the tree it builds from."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "tree", ignore=NO_SOURCE))


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def entries(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_fwdgrad_and_nothing_else(wheel, entries):
    name, version = wheel.name.split("-")[:2]
    assert {entry.split("/")[0] for entry in entries} == {"fwdgrad", f"{name}-{version}.dist-info"}


def test_the_wheel_holds_the_whole_package(source, entries):
    expected = files_under(source / "fwdgrad") | {f"fwdgrad/{path}" for path in files_under(source / "systems")}
    assert "fwdgrad/py.typed" in expected
    assert "fwdgrad/systems/__init__.py" in expected
    missing = sorted(expected - entries)
    assert not missing, (
        f"Left out of the wheel: {missing}. A folder needs an __init__.py to be a package; a file that is not Python "
        "needs an entry under [tool.setuptools.package-data] in pyproject.toml."
    )
    added = sorted(entry for entry in entries - expected if entry.startswith("fwdgrad/"))
    assert not added, f"In the wheel, but not in the source tree: {added}"


def test_the_wheel_is_importable_by_itself(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    # -I: neither the current folder nor PYTHONPATH may help. The dependencies come from this environment.
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import fwdgrad, fwdgrad.systems; print(fwdgrad.__version__, fwdgrad.__file__, fwdgrad.systems.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    version, package, systems = done.stdout.split()
    assert version == wheel.name.split("-")[1]
    assert Path(package) == tmp_path / "site" / "fwdgrad" / "__init__.py"
    assert Path(systems) == tmp_path / "site" / "fwdgrad" / "systems" / "__init__.py"


def test_the_source_distribution_holds_the_whole_project(source, tmp_path):
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        entries = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    folders = [source / name for name in ("fwdgrad", "systems", "tests", "docs", "examples", "benchmarks")]
    expected = {path for folder in folders if folder.is_dir() for path in files_under(folder)}
    expected |= {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", "setup.py"}
    assert not sorted(expected - entries)
