"""Files that are damaged in every way that a fuzz finds are refused as such; killed saves leave nothing for long."""

import io
import json
import os
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import CheckpointError
from fwdgrad.learning import checkpoint
from fwdgrad.support import scratch

JUNK = [None, [], {}, "x", -1, True, 1.5, float("nan"), 10**30, [[1], {"a": []}], {"class": []}, {"class": "RTRL"},
        {"class": "Adam", "a": 1}, {"tuple": 3}, {"repr": "x"}, {"ndarray": "x", "dtype": []}]  # fmt: skip


def system():
    return fg.System(lambda h, x, p: np.tanh(p["a"] * h + x), None, np.zeros(2), {"a": np.full(2, 0.5)}, np.zeros(2))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a checkpoint in the middle of a window, and what was learned."""
    learner = fg.Learner(system(), fg.UORO(window=3), fg.Adam(0.01), seed=1)
    learner.run(*np.random.default_rng(0).normal(size=(2, 7, 2)))
    learner.note = {"mine": [1, {"deep": "text"}]}
    path = tmp_path_factory.mktemp("good") / "c.npz"
    learner.save(path)
    return path.read_bytes(), learner


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def array(value):
    made = io.BytesIO()
    np.lib.format.write_array(made, np.asarray(value), allow_pickle=True)
    return made.getvalue()


# ---- ways to damage a file: (content, random) ↦ content


def flipped(content, rng):
    made = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        made[rng.randrange(len(made))] = rng.randrange(256)
    return bytes(made)


def cut(content, rng):
    a, b = sorted(rng.sample(range(len(content)), 2))
    return rng.choice([content[:a], content[a:], content[:a] + content[b:], content[:b] + content[a:]])


def directory(content, rng):
    """Flags (encrypted), methods, versions and sizes of entries."""
    made, mark = bytearray(content), b"PK\x01\x02"
    place = rng.choice([k for k in range(len(made)) if made[k : k + 4] == mark])
    made[place + rng.randrange(4, 46)] = rng.choice([1, 9, 12, 14, 93, 97, 99, 255])
    return bytes(made)


def header(content, rng):
    files = members(content)
    name = rng.choice(list(files))
    start = bytearray(files[name][:128])
    for _ in range(rng.randint(1, 3)):
        start[rng.randrange(len(start))] = rng.choice(b"(){}[],:'0123456789<>|OUfiVTrue \x00\xff")
    return packed(files | {name: bytes(start) + files[name][128:]})


def entries(content, rng):
    files = members(content)
    name, other = rng.sample(list(files), 2)
    value = rng.choice([np.zeros(3), np.zeros((), object), np.array("x"), np.zeros((0, 2)), np.array(["a", "b"])])
    kind = rng.randrange(4)
    if kind == 0:
        del files[name]
    elif kind == 1:
        files[name], files[other] = files[other], files[name]
    elif kind == 2:
        files[name] = array(value)
    else:
        files[rng.choice(["../x", "", "array:carry99.npy", "\x00"])] = files.pop(name)
    return packed(files)


def within(value, rng, path=()):
    """A place in nested dicts and lists."""
    while isinstance(value, (dict, list)) and value and (not path or rng.random() < 0.7):
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        path, value = (*path, key), value[key]
    return path


def changed(description, path, rng):
    inner = description
    for key in path[:-1]:
        inner = inner[key]
    kind = rng.randrange(3)
    if kind == 0 and isinstance(inner, dict):
        del inner[path[-1]]
    elif kind == 1 and isinstance(inner, dict):
        inner[rng.choice(["class", "x", "steps", "ndarray"])] = rng.choice(JUNK)
    else:
        inner[path[-1]] = rng.choice(JUNK)
    return description


def text(content, rng):
    """Unexpected values and fields in the JSON text; deep ones."""
    files = members(content)
    description = described(files)
    if rng.random() < 0.1:
        return packed(files | {"description.npy": array('{"format": 4, "a": ' + "[" * 10 ** rng.randint(2, 5))})
    description = changed(description, within(description, rng), rng)
    return packed(files | {"description.npy": array(json.dumps(description))})


def consistent(content, rng):
    """The same with a digest that is right, or in a format that has none: what is read is looked at, too."""
    files = members(content)
    description = described(files)
    key = rng.choice(["system", "noise", "note", "steps", "engine", "fwdgrad", "estimator", "optimizer"])
    if key in ("estimator", "optimizer"):
        description[key] = rng.choice(JUNK)
    else:
        description = changed(description, within(description[key], rng, (key,)) if rng.random() < 0.8 else (key,), rng)
    if rng.random() < 0.2:
        name = rng.choice([k for k in files if k.startswith("array:")])
        files[name] = array(rng.choice([np.zeros(3), np.array("x"), np.zeros((2, 2, 2)), np.zeros((), int)]))
    if rng.random() < 0.5:
        description["format"] = 3
        del files["digest.npy"]
        return packed(files | {"description.npy": array(json.dumps(description))})
    arrays = {k[6:-4]: np.load(io.BytesIO(v)) for k, v in files.items() if k.startswith("array:")}
    digest = checkpoint._digest(json.dumps(description), arrays)
    return packed(files | {"description.npy": array(json.dumps(description)), "digest.npy": array(digest)})


def described(files):
    return json.loads(str(np.load(io.BytesIO(files["description.npy"]))))


@pytest.mark.parametrize(
    "damage", [flipped, cut, directory, header, entries, text, consistent], ids=lambda f: f.__name__
)
@pytest.mark.filterwarnings("ignore:.*zip.*:UserWarning", "ignore:Duplicate name:UserWarning")
def test_every_damaged_file_is_refused_by_name(good, damage, tmp_path):
    content, learner = good
    path, refused, said = tmp_path / "c.npz", 0, ""
    for seed in range(80):
        path.write_bytes(damage(content, random.Random(f"{damage.__name__} {seed}")))
        try:
            loaded = fg.Learner.load(path, system())
        except CheckpointError as error:
            refused, said = refused + 1, str(error)
            continue
        if damage is not consistent:  # only what says nothing was changed, such as a date in the archive
            np.testing.assert_array_equal(loaded.params["a"], learner.params["a"])
            assert (loaded.steps, loaded.note) == (learner.steps, learner.note)
    assert 1 < len(said.splitlines()) <= 5
    assert refused >= (20 if damage in (consistent, directory) else 60)


def test_a_good_file_and_one_of_the_format_before_are_read(good, tmp_path):
    content, learner = good
    files = members(content)
    before = described(files) | {"format": 3}
    del files["digest.npy"]
    for made in (content, packed(files | {"description.npy": array(json.dumps(before))})):
        (tmp_path / "c.npz").write_bytes(made)
        loaded = fg.Learner.load(tmp_path / "c.npz", system())
        np.testing.assert_array_equal(loaded.params["a"], learner.params["a"])
        assert loaded.note == learner.note


@pytest.mark.parametrize("path", ["a\0b", "no/such/folder/c", None, 3.5])
def test_names_that_are_none_are_refused(path):
    with pytest.raises(CheckpointError):
        fg.Learner(system()).save(path)
    with pytest.raises(CheckpointError):
        fg.Learner.load(path, system())


def test_a_note_that_json_cannot_hold_is_refused_and_the_old_file_stays(good, tmp_path):
    path = tmp_path / "c.npz"
    path.write_bytes(good[0])
    learner = fg.Learner(system())
    loop = []
    loop.append(loop)
    for note in ({"f": len}, {("a", 1): 2}, {"l": loop}):
        learner.note = note
        with pytest.raises(CheckpointError, match="note"):
            learner.save(path)
    assert path.read_bytes() == good[0]
    assert os.listdir(tmp_path) == ["c.npz"]


# ---- saves that are killed

KILLED = f"""
import importlib.util, os, sys, pathlib
spec = importlib.util.spec_from_file_location("scratch", {scratch.__file__!r})  # without all of the package: faster
scratch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scratch)
with scratch.replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline() or os._exit(9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be removed, and a closed one is")
def test_scratch_files_of_killed_saves_go_and_those_of_others_stay(tmp_path):
    path = tmp_path / "c.npz"
    others = [tmp_path / ".c.npz.notes.tmp", tmp_path / ".d.npz.abcdefgh.tmp", tmp_path / ".c.npz.b.abcdefgh.tmp"]
    for other in others:
        other.write_text("of somebody else")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    live, killed = (subprocess.Popen([sys.executable, "-c", KILLED, str(path)], **pipes) for _ in range(2))
    assert [p.stdout.readline() for p in (live, killed)] == ["writing\n"] * 2
    killed.kill()
    killed.communicate()
    assert len(os.listdir(tmp_path)) == 5
    learner = fg.Learner(system())
    learner.save(path)
    assert len(os.listdir(tmp_path)) == 5  # the checkpoint, three of others, and the one that is being written
    assert fg.Learner.load(path, system()).steps == 0
    live.communicate("go on\n")
    assert live.returncode == 0
    assert path.read_bytes() == b"half"
    assert {p.name for p in tmp_path.iterdir()} == {"c.npz", *(p.name for p in others)}
