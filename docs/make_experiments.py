"""Write docs/experiments.md and docs/which-estimator.md: ``python docs/make_experiments.py [--pictures]``.

Every number of these pages is read from the records in benchmarks/records, or computed from them.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import fwdgrad as fg
from fwdgrad import experiments
from fwdgrad.experiments import Reproduction, deciding

DOCS = Path(__file__).parent
RECORDS = DOCS.parent / "benchmarks" / "records"

NUMBER = re.compile(r"[−-]?[\d.]|–$|diverges$")
"""How the cells of a column of numbers begin."""

INTRODUCTION = """\
# The papers' experiments

<!-- written by docs/make_experiments.py from benchmarks/records -->

The algorithms of this library come from papers that show what they can do: Ollivier, Tallec and Charpiat 2015
(NoBackTrack), Tallec and Ollivier 2018 (UORO), and slides. Each of their figures and tables is a command:

```sh
fwdgrad reproduce uoro-2a
fwdgrad reproduce all --quick
```

It makes the runs, keeps a record of each (so that what was interrupted goes on where it was), draws the picture, and
prints a table beside the paper's and a verdict. A verdict is computed from criteria that are stated before: each
holds, does not hold, or is not told, because the runs were too short for it. `--steps` sets another length, `--seeds`
other numbers of runs.

The pictures, tables and verdicts below are made of the records in `benchmarks/records`, which say with each run how
long it was. Where runs were shorter than the paper's, the tables have both lengths.
"""

TIMES = """\
Times are those of one process on a machine of two cores that others used as well; `--jobs 2` makes two runs at a time.
What is recorded may be shorter than the full length, which is the paper's where that is known: the last column goes by
what a step took.
"""

WHICH = """\
# Which estimator should I use?

<!-- written by docs/make_experiments.py from benchmarks/records -->

Does one need the past at all, and must the gradient be unbiased? That depends on the task. Here are eleven estimators
on seven tasks, each at the best of several rates. The scores say what of the loss that can be learned away is left: 0
is the least loss there can be, 1 that of who has learned nothing. Means over {seeds}; `fwdgrad reproduce estimators`
makes the table anew.

![scores by estimator and task](experiments-estimators.png)
"""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, their head first, as Markdown; columns of numbers end on the right."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    columns = [[cell for cell in column if cell] for column in zip(*body, strict=True)]
    rule = ["---:" if all(NUMBER.match(cell) for cell in column) else "---" for column in columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body)) + "\n"


def loaded() -> dict[str, Reproduction]:
    """What there are records of."""
    files = {name: RECORDS / f"{name}.jsonl" for name in experiments.names()}
    return {
        name: Reproduction(experiments.named(name), fg.Sweep.read(path))
        for name, path in files.items()
        if path.exists()
    }


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def runs(count: int) -> str:
    """So many."""
    return f"{count} run{'s' * (count != 1)}"


def lengths(made: Reproduction) -> str:
    """How long the runs were."""
    steps = sorted({int(record.settings["steps"]) for record in made.found if "steps" in record.settings})
    if not steps:
        return ""
    return f" of {' and '.join(f'{count:,}' for count in steps)} steps"


def whole(made: Reproduction) -> str:
    """How long all runs of their full length take, one after the other, going by what steps have taken."""
    spent = []
    for cell in made.experiment.cells(False, None):
        same = {k: v for k, v in cell.items() if k != "steps"}
        for record in made.found:
            if record.error is None and same.items() <= record.settings.items():
                results, ratio = record.results, cell.get("steps", 1) / record.settings.get("steps", 1)
                steps = results["steps"][-1] if "microseconds" in results else 0
                spent.append(ratio * (1e-6 * steps * results["microseconds"] if steps else record.seconds))
                break
    cells = len(made.experiment.cells(False, None))
    return duration(made.experiment.replicas * cells * sum(spent) / len(spent)) if spent else "–"


def section(made: Reproduction) -> str:
    """What came of one experiment."""
    shown = made.experiment
    seeds = len({record.replica for record in made.found})
    full = shown.replicas * len(shown.cells(False, None))
    criteria = [["criterion", "found", ""], *([c.says, c.found, c.mark] for c in made.criteria)]
    differs = "\n".join(f"- {text}" for text in shown.deviations)
    return "\n".join(
        [
            f"## {shown.title}",
            "",
            f"{shown.source}. {shown.setting}",
            "",
            *(["What differs:", "", differs, ""] if differs else []),
            f"`fwdgrad reproduce {shown.name}` makes {runs(full)}. Recorded: {runs(len(made.found))}{lengths(made)}, "
            f"{seeds} seed{'s' * (seeds > 1)}, in {duration(made.seconds)} one after the other.",
            "",
            f"![{shown.title}](experiments-{shown.name}.png)",
            "",
            table(shown.table(made.found)),
            table(criteria),
            f"**{made.verdict[0].upper()}{made.verdict[1:]}.**",
            "",
        ]
    )


def page() -> str:
    """docs/experiments.md."""
    there = loaded()
    rows = [["command", "what", "verdict", "recorded in", "in full, about"]]
    for name in experiments.names():
        title = experiments.named(name).title
        known = ["no records yet", "", ""]
        if name in there:
            known = [there[name].verdict, duration(there[name].seconds), whole(there[name])]
        rows.append([f"`fwdgrad reproduce {name}`", title, *known])
    return "\n".join([INTRODUCTION, table(rows), TIMES, *(section(made) for made in there.values())])


# ---- which estimator


def named(keys: Iterable[str]) -> str:
    """Names of estimators, or titles of tasks, in a row."""
    words = [deciding.NAMES.get(key) or deciding.TASKS[key].title for key in keys]
    return ", ".join(words[:-1]) + " and " * (len(words) > 1) + words[-1] if words else "none"


def said(text: str, holds: bool) -> str:
    """A sentence, if it is so.

    Raises:
        ValueError: the records say something else, so that the page has to say it, too.
    """
    if not holds:
        raise ValueError(f"The records do not say: {text}")
    return f"- {text}\n"


def conclusions(found: fg.Sweep) -> str:
    """What the table says, in sentences whose names and numbers are taken from it."""
    tasks = deciding.tasks_of(found)

    def good(name: str, seconds: bool = False) -> list[str]:
        return [task for task in tasks if name in deciding.as_good(found, task, seconds)]

    def mean(task: str, name: str, seconds: bool = False) -> float:
        made = deciding.score(found, task, name, seconds)
        return float("nan") if made is None else made.mean

    def below(name: str, other: str, seconds: bool = False) -> list[str]:
        return [t for t in tasks if mean(t, name, seconds) < mean(t, other, seconds) - deciding.NEAR]

    lost = [task for task in tasks if mean(task, "tbptt:16") > 1.0]
    random = ("uoro", "nobacktrack")
    worse = [
        task for task in tasks if max(mean(task, name) for name in random) > mean(task, "tbptt:16") + deciding.NEAR
    ]
    better = [
        task for task in tasks if max(mean(task, name) for name in random) < mean(task, "tbptt:16") - deciding.NEAR
    ]
    spent = {task: deciding.costs(found, task) for task in tasks}
    cheapest = all(spent[task]["tbptt:16"] == min(spent[task].values()) for task in good("tbptt:16"))
    least = [task for task in tasks if "rtrl" in deciding.as_good(found, task)]
    dearest = max(spent[task]["rtrl"] / spent[task]["uoro"] for task in least)
    short = f"{len(tasks) - len(good('tbptt:1'))} of {len(tasks)}"
    sentences = [
        said(
            f"**The past is needed** on {short} tasks: TBPTT(1), which has none, is as good as the best on "
            f"{named(good('tbptt:1'))} only.",
            good("tbptt:1") == ["drift"],
        ),
        said(
            f"**A window is enough where it is long enough**: TBPTT(16) is as good as the best on "
            f"{named(good('tbptt:16'))}, and the cheapest there; at equal seconds on {named(good('tbptt:16', True))}. "
            f"It is worse than learning nothing on {named(lost)}.",
            "copy" in good("tbptt:16", True) and "balancing" in lost and cheapest,
        ),
        said(
            f"**Exact gradients** are as good as the best wherever they were tried ({named(least)}), and at equal "
            f"seconds on {named(good('rtrl', True))}. With so few units they cost at most {dearest:.1f} times what "
            "UORO does; this grows with the number of units.",
            set(least) >= {task for task in tasks if "rtrl" in spent[task]},
        ),
        said(
            f"**A bias need not hurt.** SnAp-1 is as good as the best on {named(good('snap:1'))}, at equal seconds on "
            f"{named(good('snap:1', True))}; Decayed(0) on {named(good('decayed:0'))}. (On balancing SnAp-1 leaves out "
            "nothing: the parameter feeds all units.) It does hurt on "
            f"{named(below('debiased', 'snap:1'))}, where SnAp-1 without its bias is better than with it.",
            len(good("snap:1", True)) >= 3 and "rod" in below("debiased", "snap:1"),
        ),
        said(
            "**Without a bias, noise decides.** UORO and NoBackTrack are better than TBPTT(16) on "
            f"{named(better)}, and at least one of them is worse on {named(worse)}: so many samples are too few for "
            f"them there. With less noise, KF-RTRL is better than UORO on "
            f"{named(below('kfrtrl:nobacktrack', 'uoro'))}, OK(4) on {named(below('ok:4', 'uoro'))}.",
            "balancing" in better and "copy" in worse,
        ),
    ]
    return "".join(sentences)


def rankings(found: fg.Sweep) -> str:
    """How often each is as good as the best, and its worst score."""
    tasks = deciding.tasks_of(found)
    rows = [["", "as good as the best", "at equal seconds", "tried on", "worst score", "on"]]
    for key, name in deciding.NAMES.items():
        scores = {task: s.mean for task in tasks if (s := deciding.score(found, task, key)) is not None}
        counts = [sum(key in deciding.as_good(found, task, seconds) for task in tasks) for seconds in (False, True)]
        worst = max(scores, key=lambda task: scores[task])
        shown = f"{scores[worst]:.2f}" if scores[worst] < 10 else "diverges"
        rows.append([name, *map(str, counts), str(len(scores)), shown, deciding.TASKS[worst].title])
    return table(rows)


ADVICE = """\
## So

1. **Few parameters and a small state**: exact gradients. `estimator="auto"` takes them where they cost little.
2. **What matters lies a known, short time back**: a window that holds it, `TBPTT(T)`. It costs least, and has no
   noise.
3. **Units that keep their own memory** (leaks, gates, slow variables): `SnAp(1)`. It is biased; ask `fg.compare` how
   much on your system, or take `Debiased("snap:1")`, which has no bias and little noise where SnAp-1 is nearly right.
4. **Effects that turn round in the long run**, or a range that nobody knows: something unbiased. For networks with
   matrices `KFRTRL()` and `OK(4)` are the least noisy; UORO and NoBackTrack take any system, cost as little as a
   window, and want small rates and long streams.
5. Do not trust a table: `fg.choose(system, xs, ys)` measures bias, noise and time on your own samples
   ([comparing](comparing.md)).
"""


def which() -> str:
    """docs/which-estimator.md."""
    made = loaded()["estimators"]
    found = made.found
    tasks = deciding.tasks_of(found)
    seeds = len({record.replica for record in found})
    about = [["task", "asks for", "samples"]]
    for task in tasks:
        steps = {int(r.settings["steps"]) for r in found if r.settings["task"] == task}
        about.append([deciding.TASKS[task].title, deciding.TASKS[task].about, " and ".join(f"{n:,}" for n in steps)])
    heads = ["at equal samples", "at equal seconds: those that the cheapest takes for all samples"]
    titles = ["", *(deciding.TASKS[task].title for task in tasks)]
    blocks = [f"{head}:\n\n{table([titles, *deciding.block(found, s)])}" for s, head in enumerate(heads)]
    return "\n".join(
        [
            WHICH.format(seeds=f"{seeds} seeds" if seeds > 1 else "one seed"),
            table(about),
            *(text[0].upper() + text[1:] for text in blocks),
            "A dash: the estimator does not apply, or its cost was not spent.\n",
            "## What the table says\n",
            f"Scores within {deciding.NEAR} of the best count as good.\n",
            conclusions(found),
            rankings(found),
            ADVICE,
        ]
    )


def main() -> None:
    """Write both pages, and the pictures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", action="store_true", help="draw the pictures, too")
    if parser.parse_args().pictures:
        for name, made in loaded().items():
            made.plot(DOCS / f"experiments-{name}.png")
    (DOCS / "experiments.md").write_text(page(), encoding="utf-8")
    (DOCS / "which-estimator.md").write_text(which(), encoding="utf-8")


if __name__ == "__main__":
    main()
