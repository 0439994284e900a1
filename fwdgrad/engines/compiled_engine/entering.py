"""How a compiled step is entered: a function of Python that takes three integers."""

from __future__ import annotations

from collections.abc import Sequence

from fwdgrad.engines.compiled_engine.instructions import Array

__all__ = ["PYTHON", "entry"]

PYTHON = ("PyLong_AsLongLong", "PyLong_FromLongLong", "PyErr_Occurred", "PyEval_SaveThread", "PyEval_RestoreThread")
"""What is called of Python's C interface."""

_ENTRY = """
define i64 @run(ptr %table, i64 %start, i64 %stop) nounwind {{
{lines}
  %done = call i64 @step({arguments})
  ret i64 %done
}}
define ptr @entry(ptr %self, ptr %arguments, i64 %count) nounwind {{
  %first = load ptr, ptr %arguments
  %second.at = getelementptr ptr, ptr %arguments, i64 1
  %second = load ptr, ptr %second.at
  %third.at = getelementptr ptr, ptr %arguments, i64 2
  %third = load ptr, ptr %third.at
  %address = call i64 @PyLong_AsLongLong(ptr %first)
  %table = inttoptr i64 %address to ptr
  %start = call i64 @PyLong_AsLongLong(ptr %second)
  %stop = call i64 @PyLong_AsLongLong(ptr %third)
  %error = call ptr @PyErr_Occurred()
  %good = icmp eq ptr %error, null
  br i1 %good, label %make, label %refuse
refuse:
  ret ptr null
make:
  %thread = call ptr @PyEval_SaveThread()
  %done = call i64 @run(ptr %table, i64 %start, i64 %stop)
  call void @PyEval_RestoreThread(ptr %thread)
  %result = call ptr @PyLong_FromLongLong(i64 %done)
  ret ptr %result
}}
declare ptr @PyErr_Occurred()
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
"""


def entry(arrays: Sequence[Array]) -> str:
    """``run``, which takes the arrays of ``step`` from a table of addresses, and ``entry``, which Python calls.

    Python's lock is let go while the steps are made.
    """
    lines, arguments = [], []
    for k in range(len(arrays)):
        lines += [f"  %at{k} = getelementptr ptr, ptr %table, i64 {k}", f"  %a{k} = load ptr, ptr %at{k}"]
        arguments.append(f"ptr %a{k}")
    return _ENTRY.format(lines="\n".join(lines), arguments=", ".join([*arguments, "i64 %start", "i64 %stop"]))
