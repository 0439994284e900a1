"""A `Program`: the straight-line list of NumPy operations that a user's function does.

It is plain data. Tracing writes one (`fwdgrad.program.tracer`), derivatives replay one
(`fwdgrad.program.derivatives`), engines turn one into something fast, and the analyzer reads its dependency graph.
Variables are assigned once; instructions stand in an order in which they can be executed.
"""

from __future__ import annotations

import builtins
import hashlib
import keyword
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwdgrad.errors import ShapeError
from fwdgrad.program.instructions import Abstract, Constant, Instruction, Source, Variable
from fwdgrad.program.refusals import REFUSALS, while_executing
from fwdgrad.program.sources import recording_for

if TYPE_CHECKING:
    import networkx

__all__ = ["Abstract", "Constant", "Instruction", "Program", "Source", "Variable", "identifier", "read"]


@dataclass(eq=False)
class Program:
    """Inputs, instructions and outputs.

    Calling a program with arrays executes it with NumPy, one operation after the other; calling it with tracers
    records it into the program being written. Either way arguments and results are flat tuples.
    """

    name: str
    inputs: tuple[Variable, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Variable | Constant, ...]
    index_bounds: dict[int, int] = field(default_factory=dict)
    """Input number → size of the axis it indexes: valid values are 0 … size − 1."""

    def __call__(self, *arguments: Any) -> tuple[Any, ...]:
        """The outputs at `arguments`, one array or tracer per input."""
        values = self.evaluate(arguments)
        return tuple(read(values, out) for out in self.outputs)

    def evaluate(self, arguments: Sequence[Any]) -> dict[Variable, Any]:
        """All intermediate values, by variable.

        Raises:
            StepError: NumPy refuses an operation because of the values it gets; the message names its line.
        """
        if len(arguments) != len(self.inputs):
            raise TypeError(f"program {self.name!r} takes {len(self.inputs)} arguments, got {len(arguments)}")
        values: dict[Variable, Any] = {}
        for variable, argument in zip(self.inputs, arguments, strict=True):
            values[variable] = argument if hasattr(argument, "dtype") else np.asarray(argument)
            if values[variable].shape != variable.shape:
                label = variable.name or self.inputs.index(variable)
                raise ShapeError(
                    f"Program {self.name!r} was traced for input {label} of shape {variable.shape}, "
                    f"got {values[variable].shape}."
                )
        for instruction in self.instructions:
            operands = [read(values, i) for i in instruction.inputs]
            try:
                with recording_for(instruction.source):
                    result = instruction.operation(*operands, **instruction.params)
            except REFUSALS as error:
                refusal = while_executing(instruction, operands, error)
                if refusal is error:
                    raise
                raise refusal from error
            if instruction.operation.several:
                values.update(zip(instruction.outputs, result, strict=True))
            else:
                values[instruction.outputs[0]] = result
        return values

    def live_inputs(self) -> tuple[int, ...]:
        """Numbers of the inputs on which some output depends."""
        used: set[Variable] = {o for o in self.outputs if isinstance(o, Variable)}
        for instruction in self.instructions:
            used.update(i for i in instruction.inputs if isinstance(i, Variable))
        return tuple(k for k, v in enumerate(self.inputs) if v in used)

    def only(self, numbers: Sequence[int]) -> Program:
        """The same with some of the outputs, and nothing that they do not need. Inputs stay."""
        ends = tuple(self.outputs[k] for k in numbers)
        needed = {o for o in ends if isinstance(o, Variable)}
        kept: list[Instruction] = []
        for instruction in reversed(self.instructions):
            if not needed.isdisjoint(instruction.outputs):
                made = instruction.operation.trimmed(instruction, needed)
                kept.append(made)
                needed.update(i for i in made.inputs if isinstance(i, Variable))
        return replace(self, instructions=tuple(reversed(kept)), outputs=ends)

    def names(self) -> dict[Variable, str]:
        """A readable identifier for every variable: inputs keep their names, results are called after their operation.

        None of them is a keyword, a built-in, or a name that emitted source uses itself.
        """
        names: dict[Variable, str] = {}
        taken: set[str] = set()
        count: dict[str, int] = {}

        def assign(variable: Variable, stem: str, first: int) -> None:
            k = count.get(stem, first)
            name = stem if k == 0 else f"{stem}{k}"
            while name in taken or _is_reserved(name):
                k += 1
                name = f"{stem}{k}"
            count[stem] = k + 1
            taken.add(name)
            names[variable] = name

        for variable in self.inputs:
            assign(variable, identifier(variable.name or "outer"), 0)
        for instruction in self.instructions:
            for variable in instruction.outputs:
                assign(variable, identifier(variable.name) if variable.name else instruction.operation.name, 1)
        return names

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions)

    def __str__(self) -> str:
        names = self.names()

        def show(x: Variable | Constant) -> str:
            if isinstance(x, Variable):
                return names[x]
            return repr(x.value) if x.shape == () else f"<{Abstract(x.shape, x.dtype)}>"

        lines = [f"{self.name}({', '.join(f'{names[v]}: {Abstract(v.shape, v.dtype)}' for v in self.inputs)}):"]
        for ins in self.instructions:
            params = {k: v for k, v in ins.params.items() if not isinstance(v, Program)}
            extra = "".join(f", {k}={v}" for k, v in params.items())
            call = f"{ins.operation.name}({', '.join(show(i) for i in ins.inputs)}{extra})"
            left = ", ".join(f"{names[o]}: {Abstract(o.shape, o.dtype)}" for o in ins.outputs)
            where = f"  # {ins.source}" if ins.source else ""
            lines.append(f"    {left} = {call}{where}")
            lines += [
                f"        {line}" for v in ins.params.values() if isinstance(v, Program) for line in str(v).split("\n")
            ]
        lines.append(f"    return {', '.join(show(o) for o in self.outputs)}")
        return "\n".join(lines)

    def graph(self) -> networkx.DiGraph:
        """The dependency graph: nodes are inputs and instructions' results (by name), edges point at the user."""
        import networkx as nx

        names = self.names()
        graph = nx.DiGraph(name=self.name)
        for variable in self.inputs:
            graph.add_node(names[variable], operation="input", shape=variable.shape, dtype=variable.dtype)
        for ins in self.instructions:
            for out in ins.outputs:
                graph.add_node(
                    names[out], operation=ins.operation.name, shape=out.shape, dtype=out.dtype, source=ins.source
                )
                graph.add_edges_from((names[i], names[out]) for i in ins.inputs if isinstance(i, Variable))
        return graph

    def fingerprint(self) -> str:
        """A short hash of what the program computes: its operations, shapes and constants, not names or source lines.

        It is the same in every process.
        """
        digest = hashlib.sha256()
        number: dict[Variable, int] = {v: k for k, v in enumerate(self.inputs)}

        def feed(*parts: object) -> None:
            for part in parts:
                data = part if isinstance(part, bytes) else str(part).encode()
                digest.update(len(data).to_bytes(8, "little") + data)

        def feed_operands(operands: Sequence[Variable | Constant]) -> None:
            feed(len(operands))
            for x in operands:
                if isinstance(x, Variable):
                    feed("variable", number[x])
                else:
                    feed("constant", x.weak, x.dtype.str, x.shape, np.asarray(x.value).tobytes())

        feed(len(self.inputs), *((v.shape, v.dtype.str) for v in self.inputs))
        for ins in self.instructions:
            params = [(k, v.fingerprint() if isinstance(v, Program) else v) for k, v in sorted(ins.params.items())]
            feed(ins.operation.name, params)
            feed_operands(ins.inputs)
            for out in ins.outputs:
                number[out] = len(number)
        feed("return")
        feed_operands(self.outputs)
        return digest.hexdigest()[:16]


def read(values: dict[Variable, Any], x: Variable | Constant) -> Any:
    """The value of an instruction's input."""
    return x.value if isinstance(x, Constant) else values[x]


_NUMPY = {"np", "special", "banded", "factors", "newton", "repeated", "scatter", "scatter_add", "k"}
_JAX = {"jnp", "lax", "runtime", "sound", "safe"}
_RESERVED = frozenset(dir(builtins)) | _NUMPY | _JAX
"""What emitted source refers to, beside variables and numbered constants and loop bodies."""

_NUMBERED = re.compile(r"(.*_)?(body|constant)_\d+|evaluate_.*")


def _is_reserved(name: str) -> bool:
    return name in _RESERVED or keyword.iskeyword(name) or _NUMBERED.fullmatch(name) is not None


def identifier(text: str) -> str:
    """`text` made into a Python identifier that emitted source does not use for anything else.

    Example:
        >>> [identifier(text) for text in ("θ", "W in", "2nd", "lambda", "np")]
        ['θ', 'W_in', 'v2nd', 'lambda_', 'np_']
    """
    # Python compares identifiers in this normal form
    name = "".join(c if f"v{c}".isidentifier() else "_" for c in unicodedata.normalize("NFKC", text))
    if not name.isidentifier():
        name = f"v{name}"
    return f"{name}_" if _is_reserved(name) else name
