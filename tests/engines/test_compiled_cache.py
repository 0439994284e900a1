"""What is compiled once is loaded by later processes, and never by mistake."""

import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fwdgrad.engines import known
from fwdgrad.engines.compiled_engine import compile_stream, modules
from fwdgrad.program import Abstract, trace

SCRIPT = """
import numpy as np
from fwdgrad.engines.compiled_engine import compile_stream
from fwdgrad.program import Abstract, trace

program = trace(lambda h, x: (np.tanh(h) * x, np.vdot(h, h)), [Abstract.of(np.zeros(3)), Abstract.of(np.zeros(()))])
stream = compile_stream(program, 1)
carry = [np.ones(3)]
assert stream.run(carry, [np.full(2, 2.0)], [], 0, 2) == 2
assert np.allclose(carry[0], 2.0 * np.tanh(2.0 * np.tanh(1.0)), rtol=1e-14)
print(stream.compile_seconds > 0)
"""


def started(folder, before=""):
    environment = {**os.environ, "FWDGRAD_CACHE": str(folder), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", before + SCRIPT]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def compiles(folder, before=""):
    """Whether a new process compiles anything."""
    process = started(folder, before)
    out, error = process.communicate()
    assert process.returncode == 0, error
    return out.strip() == "True"


def files(folder):
    return sorted(p.suffix for p in Path(folder).rglob("*") if p.is_file())


def small(factor):
    """A stream that differs from others by a number in its source."""
    program = trace(lambda h, x: (h * factor, x), [Abstract.of(np.zeros(2)), Abstract.of(np.zeros(()))])
    return compile_stream(program, 1)


def run(stream, value=1.0):
    carry = [np.full(2, value)]
    assert stream.run(carry, [np.zeros(3)], [], 0, 3) == 3
    return carry[0].tolist()


def test_the_second_process_compiles_nothing(tmp_path):
    assert compiles(tmp_path)
    before = files(tmp_path)
    assert before == [".known", ".machine"]
    assert not compiles(tmp_path)
    assert files(tmp_path) == before


def test_nothing_of_another_version_is_loaded(tmp_path):
    assert compiles(tmp_path)
    assert compiles(tmp_path, "import fwdgrad._version; fwdgrad._version.__version__ = '999'\n")
    assert files(tmp_path).count(".machine") == 2


@pytest.mark.parametrize(
    ("owner", "name", "other"),
    [
        (modules, "__version__", "999"),
        (modules.np, "__version__", "999"),
        (modules.scipy, "__version__", "999"),
        (modules.platform, "python_version", lambda: "999"),
        (modules.machine.llvmlite, "__version__", "999"),
        (modules.machine.binding, "llvm_version_info", (999, 0, 0)),
        (modules.machine.binding, "get_host_cpu_name", lambda: "other"),
    ],
    ids=["fwdgrad", "numpy", "scipy", "python", "llvmlite", "LLVM", "processor"],
)
def test_the_name_depends_on_every_version(monkeypatch, owner, name, other):
    before = modules.key_of("text")
    monkeypatch.setattr(owner, name, other)
    assert modules.key_of("text") != before


def test_processes_that_compile_at_once(tmp_path):
    processes = [started(tmp_path) for _ in range(2)]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error
    assert files(tmp_path).count(".machine") == 1
    assert ".tmp" not in files(tmp_path)
    assert not compiles(tmp_path)


@pytest.mark.parametrize("damage", ["cut short", "one bit", "another name", "nothing"])
def test_a_damaged_file_is_replaced(tmp_path, monkeypatch, damage):
    """What is not exactly what was written is never executed."""
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    assert small(4.5).compile_seconds > 0
    (path,) = tmp_path.rglob("*.machine")
    whole = path.read_bytes()
    turned = bytearray(whole)
    turned[len(whole) // 2] ^= 1
    if damage == "another name":  # the machine code of another source, under this one's name
        assert small(5.5).compile_seconds > 0
        whole = next(p for p in tmp_path.rglob("*.machine") if p != path).read_bytes()
    path.write_bytes({"cut short": whole[:-100], "one bit": turned, "nothing": b""}.get(damage, whole))
    again = small(4.5)
    assert again.compile_seconds > 0
    assert run(again) == [4.5**3] * 2
    assert small(4.5).compile_seconds == 0


ENDLESS = """
import itertools, sys
import numpy as np
from fwdgrad.engines.compiled_engine import compile_stream
from fwdgrad.program import Abstract, trace

print("ready", flush=True)
for k in itertools.count(int(sys.argv[1])):
    program = trace(lambda h, x: (h * float(k), x), [Abstract.of(np.zeros(2)), Abstract.of(np.zeros(()))])
    compile_stream(program, 1)
"""
"""A process that compiles one thing after another."""


@pytest.mark.slow
def test_processes_that_are_killed(tmp_path, monkeypatch):
    """Anywhere in compiling or writing, twenty times: what they leave is whole, or is not taken for machine code."""
    generator = np.random.default_rng(0)
    environment = {**os.environ, "FWDGRAD_CACHE": str(tmp_path)}
    for turn in range(20):
        command = [sys.executable, "-c", ENDLESS, str(1000 * turn + 3)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0.0, 0.5))
        process.kill()
        process.communicate()
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    keys = [path.stem for path in tmp_path.glob("*.machine")]
    assert len(keys) >= 20
    assert all(modules._read(key) is not None for key in keys)
    for k in (3.0, 4.0, 1003.0):
        assert run(small(k)) == [k**3] * 2


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert compiles(tmp_path / "file" / "cache")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is writable")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert compiles(tmp_path)
        assert files(tmp_path) == []
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_filled_folder_that_cannot_be_written(tmp_path, monkeypatch):
    """What is there is used; nothing is written."""
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    assert small(3.25).compile_seconds > 0

    def refused(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(modules.tempfile, "mkstemp", refused)
    again = small(3.25)
    assert again.compile_seconds == 0
    assert run(again) == [3.25**3] * 2
    other = small(5.25)
    assert other.compile_seconds > 0
    assert run(other) == [5.25**3] * 2


READ_ONLY = """
import errno, os, sys

def refuse(event, arguments):
    writes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "tempfile.mkstemp")
    if event == "open" and isinstance(arguments[2], int):
        writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and arguments[0] != os.devnull
    if writes:
        raise OSError(errno.EROFS, "Read-only file system", str(arguments[0]))

sys.dont_write_bytecode = True
sys.addaudithook(refuse)
"""
"""A process to which every file system is read-only."""


def test_a_read_only_file_system(tmp_path):
    """What is there is used, what is not there is compiled, and nothing is written anywhere."""
    empty, filled = tmp_path / "empty", tmp_path / "filled"
    assert compiles(filled)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert not compiles(filled, READ_ONLY)
    assert compiles(empty, READ_ONLY)
    next(filled.rglob("*.machine")).write_text("damaged")
    assert compiles(filled, READ_ONLY)
    assert set(tmp_path.rglob("*")) == set(before)


def test_a_cache_that_was_copied_is_used(tmp_path):
    """Times of change do not matter."""
    assert compiles(tmp_path / "made")
    shutil.copytree(tmp_path / "made", tmp_path / "copied", copy_function=shutil.copy)
    assert not compiles(tmp_path / "copied")


def test_the_folder_is_chosen_by_the_environment_or_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path / "mine"))
    assert known.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("FWDGRAD_CACHE")
    monkeypatch.setattr(known.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert known.cache_folder() == tmp_path / "fwdgrad"
    monkeypatch.setattr(known.sys, "platform", "darwin")
    assert known.cache_folder() == Path.home() / "Library" / "Caches" / "fwdgrad"
    monkeypatch.setattr(known.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert known.cache_folder() == tmp_path / "local" / "fwdgrad"


def test_the_same_name_belongs_to_the_same_text():
    assert modules.key_of("a") == modules.key_of("a") != modules.key_of("b")


def test_threads_compile_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    made = [None] * 3

    def work(k):
        made[k] = run(small(7.5))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [[7.5**3] * 2] * 3


LIMIT = """
import hashlib, numpy as np, fwdgrad as fg
def F(h, x, p):
    return np.stack([h[1], p["mu"] * (1 - h[0] ** 2) * h[1] - h[0]])
system = fg.System(F, None, np.array([2.0, 0.0]), {"mu": 1.0}, dt=0.1)
made = fg.refine(system, None, 1.0, [1 / 32, 1 / 64], ["uoro"], 64, "gaussian")
print(hashlib.sha256(made.estimates["UORO"].matrices.tobytes()).hexdigest())
"""


def test_what_was_just_compiled_computes_what_is_loaded_later(tmp_path):
    """Bit for bit. It did not while the loop over steps was a function of its own, of which the linker chose a copy."""
    environment = {**os.environ, "FWDGRAD_CACHE": str(tmp_path)}
    made = [
        subprocess.run([sys.executable, "-c", LIMIT], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert made[0].stdout == made[1].stdout
    assert len(list(tmp_path.rglob("*.machine"))) == 1
