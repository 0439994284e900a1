"""The files of an export: a header, the steps, and a program that holds them against samples."""

from __future__ import annotations

from collections.abc import Sequence

from fwdgrad._version import __version__
from fwdgrad.engines.compiled_engine.c_language import c_number, c_type
from fwdgrad.exporting.steps import Member, Steps

__all__ = ["header", "program", "source"]

_HEADER = """\
/* {title}, as C99. Written by fwdgrad {version}.
 *
 * {name} model;
 * {name}_init(&model);                  as it was when it was written
 * {name}_predict(&model, {rows}prediction);
 * {name}_learn(&model, {rows}{targets}{noises}&loss, prediction);
 *
 * Arrays are in C order. The functions return 0; or 1 where the step would not be finite, needs an inverse that
 * there is not, or an entry of an array that there is not: then the model is as it was before.
{notes} *
{sizes}
 */
#ifndef {guard}
#define {guard}

#include <stdbool.h>
#include <stdint.h>

/* What is kept from step to step. */
typedef struct {{
{state}
}} {name}_state;

typedef struct {{
    {name}_state state;
    {name}_state kept; /* before the step, to go back to */
    union {{
{work}
    }} work;
}} {name};

/* The model as it was exported. */
void {name}_init({name} *model);

{reset}/* The prediction for the next sample; nothing is changed but memory to work in. */
int {name}_predict({name} *model, {x}{kind} prediction[{size}]);

/* One sample without a target: state and influence go on. */
int {name}_transit({name} *model, {x}{noise}{kind} prediction[{size}]);

/* One sample: predict, compare, learn. {missing}*/
int {name}_learn({name} *model, {x}{y}{noise}{kind} *loss, {kind} prediction[{size}]);
{random_declared}
#endif
"""

_SOURCE = """\
#include "{name}.h"

#include <math.h>
#include <string.h>

{steps}

void {name}_init({name} *model) {{
    static const {name}_state begun = {{
{values}
    }};
    memset(model, 0, sizeof *model);
    model->state = begun;
}}

{reset}int {name}_predict({name} *model, {x}{kind} prediction[{size}]) {{
    return step_predict({p_call}prediction);
}}

int {name}_transit({name} *model, {x}{noise}{kind} prediction[{size}]) {{
    {kind} loss[1];
    model->kept = model->state;
    if (step_transit({t_call}loss, prediction)) {{
        model->state = model->kept;
        return 1;
    }}
{after_transit}    return 0;
}}

int {name}_learn({name} *model, {x}{y}{noise}{kind} *loss, {kind} prediction[{size}]) {{
{gaps}    model->kept = model->state;
    if (step_learn({l_call}loss, prediction)) {{
        model->state = model->kept;
        return 1;
    }}
{after_learn}    return 0;
}}
{random}"""

_RANDOM = """\

static uint64_t drawn(uint64_t *seed) { /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = (*seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

"""

_PROGRAM = """\
/* Reads samples and what NumPy made of them from the standard input, makes the same steps, and prints the largest
 * difference, relative to numbers above 1: {name}_test < {name}_samples.txt. Returns 0 if it is below LIMIT. */
#include "{name}.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#ifndef LIMIT
#define LIMIT {limit}
#endif

static double worst = 0.0;

static void compare(double here, double there) {{
    const double size = fabs(there) > 1.0 ? fabs(there) : 1.0;
    const double off = isnan(here) && isnan(there) ? 0.0 : fabs(here - there) / size;
    if (!(off <= worst)) {{
        worst = off;
    }}
}}

static double number(void) {{
    double x;
    if (scanf("%lf", &x) != 1) {{
        fprintf(stderr, "a number is missing\\n");
        x = NAN;
    }}
    return x;
}}

int main(void) {{
    static {name} model;
    long steps;
{arrays}
    {kind} loss = 0;
    {kind} prediction[{size}], predicted[{size}];
    if (scanf("%ld", &steps) != 1) {{
        return 2;
    }}
    {name}_init(&model);
    for (long t = 0; t < steps; t++) {{
{reading}
        if ({name}_predict(&model, {rows}predicted)
            || {name}_learn(&model, {rows}{targets}{noises}&loss, prediction)) {{
            fprintf(stderr, "step %ld was refused\\n", t);
            return 1;
        }}
        compare((double)loss, number());
        for (int k = 0; k < {size}; k++) {{
            compare((double)prediction[k], (double)predicted[k]);
            compare((double)prediction[k], number());
        }}
    }}
{comparing}
    printf("%ld steps, largest difference %.3g\\n", steps, worst);
    return worst <= LIMIT ? 0 : 1;
}}
"""


def _list(members: Sequence[Member]) -> str:
    return "".join(f"{m.name}, " for m in members)


def _parameters(members: Sequence[Member]) -> str:
    return "".join(f"{m.parameter}, " for m in members)


def header(
    name: str, title: str, steps: Steps, kinds: Sequence[str], sizes: Sequence[str], notes: Sequence[str]
) -> str:
    """The header."""
    work = [
        "        struct {\n" + "\n".join(f"            {m.declared}" for m in members) + f"\n        }} {kind};"
        for kind, members in steps.work.items()
        if members
    ]
    floats = [m for m in steps.y if m.value.dtype.kind == "f"]
    begins = "The next trajectory begins, in the declared initial state, with what has been learned."
    return _HEADER.format(
        name=name,
        reset=f"/* {begins} */\nvoid {name}_reset({name} *model);\n\n" if "reset" in steps.work else "",
        title=title,
        version=__version__,
        guard=f"{name.upper()}_H",
        rows=_list(steps.x),
        targets=_list(steps.y),
        noises=_list(steps.noise),
        notes="".join(f" * {line}\n" for line in notes),
        sizes="\n".join(f" * {line}" for line in sizes),
        state="\n".join(f"    {m.declared}" for m in (*steps.carry, *steps.fed)),
        work="\n".join(work) or "        char none;",
        x=_parameters(steps.x),
        y=_parameters(steps.y),
        noise=_parameters(steps.noise),
        kind=c_type(steps.prediction.value.dtype),
        size=steps.prediction.value.size,
        missing="Targets that are NaN were not observed. " if floats else "",
        random_declared="".join(
            f"\n/* The random numbers of a step, {kind}; they are not those that Python draws. */\n"
            f"void {name}_{m.name}(uint64_t *seed, {c_type(m.value.dtype)} {m.name}[{m.value.size}]);\n"
            for m, kind in zip(steps.noise, kinds, strict=True)
        ),
    )


def source(name: str, steps: Steps, kinds: Sequence[str]) -> str:
    """The steps, and what calls them."""
    marked = [m for m in steps.fed if m.name == "start"]
    seen = [m for m in steps.fed if m.name != "start"]
    reset = [
        "    (void)step_reset(model);",
        *(f"    model->state.{m.name}[0] = 1;" for m in marked),
        *(_nothing(m) for m in seen),
    ]
    after = [f"    model->state.{m.name}[0] = 0;" for m in marked]
    inputs, targets = seen[: len(steps.x)], seen[len(steps.x) :]
    kept = (
        [
            f"    memcpy(model->state.{m.name}, {x.name}, sizeof model->state.{m.name});"
            for m, x in zip(inputs, steps.x, strict=True)
        ]
        if seen
        else []
    )
    there = (
        [
            f"    memcpy(model->state.{m.name}, {y.name}, sizeof model->state.{m.name});"
            for m, y in zip(targets, steps.y, strict=True)
        ]
        if seen
        else []
    )
    gone = [_nothing(m) for m in targets]
    floats = [m for m in steps.y if m.value.dtype.kind == "f"]
    gaps = []
    if floats and len(floats) == len(steps.y):
        gaps.append("    bool observed = false;")
        for m in floats:
            gaps += [
                f"    for (int k = 0; k < {m.value.size}; k++) {{",
                f"        observed = observed || !isnan({m.name}[k]);",
                "    }",
            ]
        call = f"model, {_list(steps.x)}{_list(steps.noise)}prediction"
        gaps += ["    if (!observed) {", "        *loss = NAN;", f"        return {name}_transit({call});", "    }"]
    made = steps.text.replace("MODEL *model", f"{name} *model")
    return _SOURCE.format(
        name=name,
        steps=made,
        values="\n".join(f"        {_values(m)}," for m in (*steps.carry, *steps.fed)),
        reset="\n".join([f"void {name}_reset({name} *model) {{", *reset, "}\n\n"]) if "reset" in steps.work else "",
        x=_parameters(steps.x),
        y=_parameters(steps.y),
        noise=_parameters(steps.noise),
        kind=c_type(steps.prediction.value.dtype),
        size=steps.prediction.value.size,
        p_call=f"model, {_list(steps.x)}",
        t_call=f"model, {_list(steps.x)}{_list(steps.noise)}",
        l_call=f"model, {_list(steps.x)}{_list(steps.y)}{_list(steps.noise)}",
        after_transit="".join(f"{line}\n" for line in [*after, *kept, *gone]),
        after_learn="".join(f"{line}\n" for line in [*after, *kept, *there]),
        gaps="".join(f"{line}\n" for line in gaps),
        random=_random(name, steps, kinds),
    )


def _values(member: Member) -> str:
    dtype = member.value.dtype
    return "{" + (", ".join(c_number(v, dtype) for v in member.value.ravel()) or "0") + "}"


def _nothing(member: Member) -> str:
    """What is seen before the first sample: 0 of an input, NaN of a target."""
    line = "; ".join(
        f"model->state.{member.name}[{k}] = {c_number(v, member.value.dtype)}"
        for k, v in enumerate(member.value.ravel())
    )
    return f"    {line};"


def _random(name: str, steps: Steps, kinds: Sequence[str]) -> str:
    """Functions that draw the noise of a step."""
    if not steps.noise:
        return ""
    texts = {
        "signs": "drawn(seed) >> 63 ? 1 : -1",
        "cube roots": "floor(3.0 * (double)(drawn(seed) >> 11) / 9007199254740992.0)",
        "uniform": "(double)(drawn(seed) >> 11) / 9007199254740992.0",
        "normal": "sqrt(-2.0 * log(((double)(drawn(seed) >> 11) + 1.0) / 9007199254740993.0)) * "
        "cos(6.283185307179586 * (double)(drawn(seed) >> 11) / 9007199254740992.0)",
    }
    made = []
    for m, kind in zip(steps.noise, kinds, strict=True):
        number = c_type(m.value.dtype)
        made.append(
            f"void {name}_{m.name}(uint64_t *seed, {number} {m.name}[{m.value.size}]) {{\n"
            f"    for (int k = 0; k < {m.value.size}; k++) {{\n"
            f"        {m.name}[k] = ({number})({texts[kind]});\n    }}\n}}\n"
        )
    return _RANDOM + "\n".join(made)


def program(name: str, steps: Steps, limit: float) -> str:
    """The program that holds the steps against samples."""
    given = [*steps.x, *steps.y, *steps.noise]
    arrays = [f"    {m.declared}" for m in given]
    reading = []
    for m in given:
        reading.append(f"        for (int k = 0; k < {m.value.size}; k++) {{")
        if m.value.dtype.kind == "f":
            reading += [f"            {m.name}[k] = ({c_type(m.value.dtype)})number();"]
        else:
            reading += [f"            {m.name}[k] = ({c_type(m.value.dtype)})number();"]
        reading.append("        }")
    comparing = []
    for m in steps.carry:
        comparing += [
            f"    for (int k = 0; k < {m.value.size}; k++) {{",
            f"        compare((double)model.state.{m.name}[k], number());",
            "    }",
        ]
    return _PROGRAM.format(
        name=name,
        limit=f"{limit:g}",
        arrays="\n".join(arrays),
        kind=c_type(steps.prediction.value.dtype),
        size=steps.prediction.value.size,
        reading="\n".join(reading),
        rows=_list(steps.x),
        targets=_list(steps.y),
        noises=_list(steps.noise),
        comparing="\n".join(comparing),
    )
