"""LLVM: from its language to machine code for this processor, and from machine code to a function of Python."""

from __future__ import annotations

import ctypes
import importlib
import itertools
import sys
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import llvmlite
from llvmlite import binding

from fwdgrad.engines.compiled_engine.entering import PYTHON
from fwdgrad.engines.compiled_engine.products import BLAS
from fwdgrad.engines.compiled_engine.translating import SPECIAL
from fwdgrad.engines.compiled_engine.unsupported import UnsupportedOperation

__all__ = ["Linked", "linked", "machine_code", "processor"]

_LOCK = threading.RLock()
"""Held while LLVM works: what it keeps of a module belongs to one thread at a time."""
_NUMBERS = itertools.count()
_FASTCALL = 0x80
"""METH_FASTCALL of Python's C interface: operands come as an array."""


class Linked(NamedTuple):
    """What `entering` defines, as functions of Python. Machine code is let go with the last of them."""

    entry: Any
    call: Any


def processor() -> tuple[str, ...]:
    """What machine code depends on besides the source: LLVM, and the processor it is made for."""
    features = binding.get_host_cpu_features().flatten()
    version = ".".join(map(str, binding.llvm_version_info))
    return llvmlite.__version__, version, binding.get_process_triple(), binding.get_host_cpu_name(), features


def machine_code(text: str) -> bytes:
    """The object file of a module in LLVM's language."""
    with _LOCK:
        machine = _machine()
        module = binding.parse_assembly(text)
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        module.verify()
        options = binding.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = True
        options.slp_vectorization = True
        options.loop_unrolling = True
        options.loop_interleaving = True
        builder = binding.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        return machine.emit_object(module)


def linked(code: bytes, names: Sequence[str]) -> Linked:
    """The functions of an object file; `names` are the functions of others that it calls."""
    library = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in Linked._fields:
        library.export_symbol(name)
    for name in (*names, *PYTHON):
        library.import_symbol(name, _address(name))
    with _LOCK:
        linker = _linker()
        tracker = library.link(linker, f"fwdgrad{next(_NUMBERS)}")
    return Linked(*(_function(tracker[name], (tracker, linker)) for name in Linked._fields))


@cache
def _machine() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    return target.create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


@cache
def _linker() -> Any:
    return binding.create_lljit_compiler(_machine())


# ---- functions of others


@cache
def _address(name: str) -> int:
    """Where a function stands: of Python, of SciPy, of the C library."""
    if name in PYTHON:
        return _place(getattr(ctypes.pythonapi, name))
    if name.startswith(BLAS):
        return _exported("scipy.linalg.cython_blas", name.removeprefix(BLAS))
    if name.startswith(SPECIAL):
        return _exported("scipy.special.cython_special", name.removeprefix(SPECIAL))
    return _place(getattr(_c_library(), name))


def _place(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def _c_library() -> Any:
    return ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)


def _exported(module: str, name: str) -> int:
    """The address of a function of doubles that a module of Cython hands out."""
    table = importlib.import_module(module).__pyx_capi__
    capsule = table.get(name) or table.get(f"__pyx_fuse_1{name}")
    if capsule is None:
        raise UnsupportedOperation(name, "SciPy offers no compiled form of it")
    label, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    label.restype, label.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer(capsule, label(capsule)))


# ---- functions of Python


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _function(address: int, code: Any) -> Any:
    """The machine code at an address as a function of Python, which keeps `code` alive."""
    method = _Method(b"step", address, _FASTCALL, None)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.addressof(method), (method, code), None)
