"""Every example in a docstring, in README.md and in docs/ is run."""

import doctest
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from places import ROOT

from fwdgrad.comparison import cost

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NO_TEST = "<!-- no-test -->"
SHORTER = re.compile(r"<!-- shorter: (.+?) → (.+?) -->")


def module_names() -> list[str]:
    """Every module of fwdgrad that has an example, found without importing any of them."""
    names = []
    for folder, package in ((ROOT / "fwdgrad", "fwdgrad"), (ROOT / "systems", "fwdgrad.systems")):
        for path in folder.rglob("*.py"):
            if ">>> " not in path.read_text(encoding="utf-8"):
                continue
            parts = path.relative_to(folder).with_suffix("").parts
            names.append(".".join((package, *parts)).removesuffix(".__init__"))
    return sorted(name for name in names if not name.endswith(".__main__"))


class Block(NamedTuple):
    """The code of a fenced block and the number of its first line."""

    line: int
    code: str


def python_blocks(text: str) -> list[Block]:
    """The blocks of a Markdown page fenced with ```python, but for those right below a no-test comment."""
    blocks = []
    lines = text.splitlines()
    above = ""  # the last line outside a block that is not blank
    number = 0
    while number < len(lines):
        fence = re.match(r"(?P<indent> *)(?P<mark>`{3,}|~{3,}) *(?P<language>[^\s`]*)[^`]*$", lines[number])
        number += 1
        if not fence:
            above = lines[number - 1].strip() or above
            continue
        start = number
        closing = re.compile(rf" *{re.escape(fence['mark'])}{fence['mark'][0]}* *$")
        while number < len(lines) and not closing.match(lines[number]):
            number += 1
        if number == len(lines):
            raise ValueError(f"The block that opens on line {start} is never closed.")
        if fence["language"] == "python" and above != NO_TEST:
            indent = len(fence["indent"])
            code = "\n".join(re.sub(rf"^ {{,{indent}}}", "", line) for line in lines[start:number])
            blocks.append(Block(start + 1, code))
        above = ""
        number += 1
    return blocks


def shortened(text: str) -> str:
    """The page with what its comments say in place of what takes long: fewer samples, fewer replicas."""
    for long, short in SHORTER.findall(text):
        if text.count(long) != 2:  # in the comment, and in the code
            raise ValueError(f"{long!r} does not stand once in the page.")
        text = text.replace(long, short)
    return text


def run_blocks(text: str, filename: str) -> dict[str, object]:
    """Run the Python blocks of a page one after the other in one namespace, and return it."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in python_blocks(text):
        # the blank lines make a traceback show the line of the page
        exec(compile("\n" * (line - 1) + code, filename, "exec"), namespace)
    return namespace


def pages() -> list[Path]:
    return [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.is_file()]


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    """Examples may write files, draw without a screen, and read the table of the front page."""
    monkeypatch.chdir(tmp_path)
    for name in ("lakes.csv", "lakes.txt"):
        (tmp_path / name).write_bytes((ROOT / "examples" / "data" / name).read_bytes())
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(cost, "SECONDS", 0.0)  # no example depends on what a step takes
    monkeypatch.setattr(cost, "LEAST", 1)


@pytest.mark.parametrize("name", module_names())
def test_docstrings(name):
    if name in ("fwdgrad.adapters.river", "fwdgrad.adapters.sklearn"):
        pytest.importorskip(name.rpartition(".")[2])
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for example in doctest.DocTestFinder().find(importlib.import_module(name), name):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages(page):
    run_blocks(shortened(page.read_text(encoding="utf-8")), str(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_in_full(page):
    text = page.read_text(encoding="utf-8")
    if shortened(text) != text:
        run_blocks(text, str(page))


def learns(code: str) -> bool:
    """Whether a block learns from a stream."""
    return ".run(" in code


def judged(codes: list[str], place: int) -> bool:
    """Whether a block says what came of it: it prints, or it, or the one right below it, asserts."""
    return any("print(" in codes[place] or "assert " in code for code in codes[place : place + 2])


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_example_that_learns_says_what_came_of_it(page):
    """A reader can judge it; what it is held to stands in the block, or in a comment of HTML below it."""
    blocks = python_blocks(page.read_text(encoding="utf-8"))
    silent = [b.line for k, b in enumerate(blocks) if learns(b.code) and not judged([c.code for c in blocks], k)]
    assert not silent, f"{page}: lines {silent} learn, and nobody learns what"


def test_a_silent_example_is_noticed():
    """The negative control."""
    codes = [block.code for block in python_blocks("```python\nl.run(x)\n```\n" * 2 + "```python\nassert l\n```\n")]
    assert [judged(codes, k) for k in range(2)] == [False, True]


# ---- the reader of pages itself

PAGE = """\
# A page

```python
a = 1
```

```
not python
```

<!-- no-test -->

```python
raise RuntimeError("must not run")
```

````markdown
```python
raise RuntimeError("an example of Markdown")
```
````

1. In a list:

   ```python
   def twice(x):

       return 2 * x

   a = twice(a)
   ```
"""


def test_a_page_runs_in_one_namespace():
    assert run_blocks(PAGE, "page.md")["a"] == 2


def test_a_failing_block_fails_on_its_line_of_the_page():
    with pytest.raises(ZeroDivisionError) as raised:
        run_blocks(PAGE + "\n```python\nb = a\nb / 0\n```\n", "page.md")
    assert raised.traceback[-1].lineno + 1 == PAGE.count("\n") + 4


def test_what_takes_long_is_shortened_if_it_stands_once():
    page = "<!-- shorter: range(900) → range(9) -->\n```python\nn = len(range(900))\n```\n"
    assert (run_blocks(page, "page.md")["n"], run_blocks(shortened(page), "page.md")["n"]) == (900, 9)
    for wrong in (page.replace("len(range(900))", "1"), page + "range(900)"):
        with pytest.raises(ValueError, match="does not stand once"):
            shortened(wrong)


def test_an_open_block_is_refused():
    with pytest.raises(ValueError, match="line 2 is never closed"):
        python_blocks("\n```python\na = 1\n")
