"""How compiled steps are entered: as functions of Python's C interface, without anything in between."""

from __future__ import annotations

from collections.abc import Sequence

from fwdgrad.engines.compiled_engine.instructions import Array

__all__ = ["DATA", "PYTHON", "entries"]

DATA = object.__basicsize__
"""Where, in an array of NumPy, the address of its numbers stands: behind what every object of Python begins with."""

PYTHON = ("PyLong_AsLongLong", "PyLong_FromLongLong", "PyErr_Occurred", "PyEval_SaveThread", "PyEval_RestoreThread")
"""What is called of Python's C interface."""

_ENTRIES = """
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
define ptr @call(ptr %self, ptr %arguments, i64 %count) nounwind {{
begin:
  %first = load ptr, ptr %arguments
  %address = call i64 @PyLong_AsLongLong(ptr %first)
  %error = call ptr @PyErr_Occurred()
  %good = icmp eq ptr %error, null
  br i1 %good, label %test, label %refuse
refuse:
  ret ptr null
test:
  %table = inttoptr i64 %address to ptr
  %none = icmp sle i64 %count, 1
  br i1 %none, label %make, label %each
each:
  %k = phi i64 [ 1, %test ], [ %next, %each ]
  %array.at = getelementptr ptr, ptr %arguments, i64 %k
  %array = load ptr, ptr %array.at
  %data.at = getelementptr i8, ptr %array, i64 {data}
  %data = load ptr, ptr %data.at
  %before = sub i64 %k, 1
  %place = getelementptr ptr, ptr %table, i64 %before
  store ptr %data, ptr %place
  %next = add i64 %k, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %each, label %make
make:
  %thread = call ptr @PyEval_SaveThread()
  %done = call i64 @run(ptr %table, i64 0, i64 1)
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


def entries(arrays: Sequence[Array]) -> str:
    """``run``, which takes the arrays of ``step`` from a table of addresses, and what Python calls.

    ``entry(table, start, stop)`` makes steps with the table at an address. ``call(table, *arrays)`` first writes the
    addresses of arrays to the beginning of the table, and makes one step. Python's lock is let go while steps are made.
    """
    lines, arguments = [], []
    for k in range(len(arrays)):
        lines += [f"  %at{k} = getelementptr ptr, ptr %table, i64 {k}", f"  %a{k} = load ptr, ptr %at{k}"]
        arguments.append(f"ptr %a{k}")
    given = ", ".join([*arguments, "i64 %start", "i64 %stop"])
    return _ENTRIES.format(lines="\n".join(lines), arguments=given, data=DATA)
