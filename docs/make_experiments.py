"""Write docs/experiments.md and docs/which-estimator.md: ``python docs/make_experiments.py [--pictures]``.

Every number of these pages is read from the records in benchmarks/records, or computed from them.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import fwdgrad as fg
from fwdgrad import experiments
from fwdgrad.experiments import Reproduction, deciding

DOCS = Path(__file__).parent
RECORDS = DOCS.parent / "benchmarks" / "records"

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
prints a table beside the paper's and a verdict. A verdict is computed from criteria that are stated before: each holds, does
not hold, or is not told, because the runs were too short for it. `--steps` sets another length, `--seeds` other
numbers of runs.

The pictures, tables and verdicts below are made of the records in `benchmarks/records`, which say with each run how long it
was. Where runs were shorter than the paper's, the tables have both lengths.
"""

WHICH = """\
# Which estimator should I use?

<!-- written by docs/make_experiments.py from benchmarks/records -->

Does one need the past at all, and must the gradient be unbiased? That depends on the task. Here are eleven estimators on
seven tasks, each at the best of several rates. The scores say what of the loss that can be learned away is left: 0 is the
least loss there can be, 1 that of who has learned nothing. Means over {seeds}; `fwdgrad reproduce estimators` makes the table
anew.

![scores by estimator and task](experiments-estimators.png)
"""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, their head first, as Markdown."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body)) + "\n"


def loaded() -> dict[str, Reproduction]:
    """What there are records of."""
    files = {name: RECORDS / f"{name}.jsonl" for name in experiments.names()}
    return {
        name: Reproduction(experiments.named(name), fg.Sweep.read(path)) for name, path in files.items() if path.exists()
    }


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def lengths(made: Reproduction) -> str:
    """How long the runs were."""
    steps = sorted({int(record.settings["steps"]) for record in made.found if "steps" in record.settings})
    if not steps:
        return ""
    return f"Runs of {' and '.join(f'{count:,}' for count in steps)} steps. "


def section(made: Reproduction) -> str:
    """What came of one experiment."""
    shown = made.experiment
    seeds = len({record.replica for record in made.found})
    criteria = [["criterion", "found", ""], *([c.says, c.found, c.mark] for c in made.criteria)]
    differs = "\n".join(f"- {text}" for text in shown.deviations)
    return "\n".join(
        [
            f"## {shown.title}",
            "",
            f"{shown.source}. {shown.setting}",
            "",
            *(["What differs:", "", differs, ""] if differs else []),
            f"`fwdgrad reproduce {shown.name}`; recorded: {lengths(made)}{seeds} seed{'s' * (seeds > 1)}, "
            f"{len(made.found)} runs in {duration(made.seconds)} one after the other.",
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
    rows = [["command", "what", "verdict", "seconds"]]
    for name in experiments.names():
        title = experiments.named(name).title
        known = [there[name].verdict, f"{there[name].seconds:.0f}"] if name in there else ["no records yet", ""]
        rows.append([f"`fwdgrad reproduce {name}`", title, *known])
    return "\n".join([INTRODUCTION, table(rows), *(section(made) for made in there.values())])
