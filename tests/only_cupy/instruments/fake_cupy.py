"""A strict stand-in for `cupy`: NumPy arithmetic underneath, CuPy's rules (and a few stricter ones) on top.

* A device array is not a NumPy array: no implicit conversion, no arithmetic with host arrays, no host array as a kernel argument.
* Only the names below exist; `names.py` checks that each exists in the real CuPy with the parameters used here.
* Arithmetic between arrays of different dtypes is refused: a backend must not change a precision in silence.
* `empty` is filled with NaN; memory comes from malloc at its exact size, so a sanitizer sees an access beyond it or after it was
  freed; `log` counts uploads, downloads and waits, kernel launches by name, and the streams they ran on; `memory` bounds the bytes.
* `RawModule` runs the CUDA source in the simulator.  A kernel's arguments must have exactly its types.
* Memory, streams and the recording of graphs keep the rules of `fake_device`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import fake_device, simulator
from .fake_device import log, memory

__version__ = "simulated"

float32, float64, int32, int64, uint64, uint8 = np.float32, np.float64, np.int32, np.int64, np.uint64, np.uint8

order = simulator.Order()
"""How the threads of every kernel take turns; tests change it."""


class ndarray:  # noqa: N801  # CuPy's name
    """A device array; `_host` is a NumPy view of its memory, for this module only."""

    __slots__ = ("__weakref__", "_buffer", "_host")
    __array_priority__ = 100

    def __init__(self, shape: Any, dtype: Any = float, *, _view: Any = None, _buffer: fake_device.Buffer | None = None) -> None:
        if _buffer is None:
            kind = np.dtype(dtype)
            shape = (shape,) if isinstance(shape, int) else tuple(shape)
            size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
            _buffer = fake_device.Buffer(size)
            raw = (ctypes.c_char * max(1, size)).from_address(_buffer.address)
            _view = np.frombuffer(raw, kind, size // kind.itemsize).reshape(shape)
        self._host, self._buffer = _view, _buffer

    # -- where host and device meet

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"Unsupported type {np.ndarray}: a NumPy function or array met a device array")

    def __array_function__(self, function: Callable[..., Any], _types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.empty_like:  # NEP 35, which CuPy follows
            return empty(kwargs.get("shape", args[0].shape), kwargs.get("dtype") or args[0].dtype)
        if function is np.asarray:
            return asarray(*args, **kwargs)
        raise TypeError(f"numpy.{function.__name__} on a device array")

    def get(self) -> Any:
        log.downloads += 1
        fake_device.host_waits(fake_device.current_stream())
        return self._host.copy()

    def item(self) -> Any:
        log.downloads += 1
        fake_device.host_waits(fake_device.current_stream())
        return self._host.item()

    def _refuse(self, *args: Any) -> Any:
        raise TypeError("this would wait for the device: use .get() or .item() where that is meant")

    __float__ = __int__ = __bool__ = __index__ = __iter__ = _refuse
    __hash__ = None  # type: ignore[assignment]

    # -- what a view shares

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)
    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data))
    T = property(lambda self: self._share(self._host.T))

    def __len__(self) -> int:
        return len(self._host)

    def _share(self, view: Any) -> ndarray:
        return ndarray(None, _view=view, _buffer=self._buffer)

    def transpose(self, *axes: int) -> ndarray:
        return self._share(self._host.transpose(*axes))

    def reshape(self, *shape: Any) -> ndarray:
        made = self._host.reshape(*shape)
        if np.shares_memory(made, self._host) or not made.size:
            return self._share(made)
        return _computed("reshape", lambda host=self._host: host.reshape(*shape), self)

    def sum(self) -> ndarray:
        return _computed("sum", lambda host=self._host: host.sum(), self)

    def copy(self) -> ndarray:
        return _computed("copy", lambda host=self._host: host, self)

    def __getitem__(self, key: Any) -> ndarray:
        if _is_basic(key):
            made = self._host[key]
            return self._share(made if isinstance(made, np.ndarray) else self._host[key, ...])
        at = _host_key(key)
        return _computed("take", lambda host=self._host: host[at], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        operands = [self]
        if isinstance(value, ndarray):
            _same_dtype(self, value)
            operands.append(value)
            value = value._host
        elif isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {np.ndarray}")
        at = key if _is_basic(key) else _host_key(key)
        fake_device.run("copy", lambda host=self._host: host.__setitem__(at, value), [a._buffer for a in operands])

    # -- arithmetic

    def _with(self, other: Any, function: Any, into: bool = False) -> ndarray:
        operands = [self]
        if isinstance(other, ndarray):
            _same_dtype(self, other)
            operands.append(other)
            value = other._host
        elif isinstance(other, int | float | np.generic):
            value = self.dtype.type(other)
        else:
            raise TypeError(f"Unsupported type {type(other)}")
        if into:
            fake_device.run(
                function.__name__, lambda host=self._host: function(host, value, out=host), [a._buffer for a in operands]
            )
            return self
        return _computed(function.__name__, lambda host=self._host: function(host, value), *operands)

    def __add__(self, other: Any) -> ndarray:
        return self._with(other, np.add)

    def __iadd__(self, other: Any) -> ndarray:
        return self._with(other, np.add, into=True)

    def __mul__(self, other: Any) -> ndarray:
        return self._with(other, np.multiply)

    def __imul__(self, other: Any) -> ndarray:
        return self._with(other, np.multiply, into=True)

    def __sub__(self, other: Any) -> ndarray:
        return self._with(other, np.subtract)

    def __matmul__(self, other: Any) -> ndarray:
        return matmul(self, other)

    def __truediv__(self, other: Any) -> ndarray:
        return self._with(other, np.true_divide)


def _new(host: Any) -> ndarray:
    """What the host gives."""
    host = np.asarray(host)
    made = ndarray(host.shape, host.dtype)
    made._host[...] = host
    return made


def _computed(name: str, make: Callable[[], Any], *operands: ndarray) -> ndarray:
    """A new array, made on the current stream; while that records, `make` only tells the shape."""
    with np.errstate(all="ignore"):
        value = np.asarray(make())
    made = ndarray(value.shape, value.dtype)
    view = made._host
    later = fake_device.recording() is not None
    fake_device.run(name, lambda: np.copyto(view, make() if later else value), [a._buffer for a in (made, *operands)])
    return made


def _same_dtype(a: ndarray, b: ndarray) -> None:
    if a.dtype != b.dtype:
        raise TypeError(f"arithmetic between {a.dtype} and {b.dtype}: convert where it is meant")


def _is_basic(key: Any) -> bool:
    return all(
        part is None or part is Ellipsis or isinstance(part, int | np.integer | slice)
        for part in (key if isinstance(key, tuple) else (key,))
    )


def _host_key(key: Any) -> Any:
    def one(part: Any) -> Any:
        if isinstance(part, ndarray):
            return part._host
        if isinstance(part, list | np.ndarray):
            fake_device.upload()  # CuPy uploads it without a word
        return part

    return tuple(map(one, key)) if isinstance(key, tuple) else one(key)


def _device(array: Any) -> Any:
    if not isinstance(array, ndarray):
        raise TypeError(f"Unsupported type {type(array)}")
    return array._host


# ---- functions -----------------------------------------------------------------------------------------------------------


def empty(shape: Any, dtype: Any = float) -> ndarray:
    return ndarray(shape, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> ndarray:
    made = ndarray(shape, np.asarray(fill_value).dtype if dtype is None else dtype)
    fake_device.run("full", lambda host=made._host: host.fill(fill_value), [made._buffer])
    return made


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = float) -> ndarray:
    return full(shape, 1, dtype)


def arange(start: int, stop: int | None = None, step: int = 1, dtype: Any = None) -> ndarray:
    first, last = (0, start) if stop is None else (start, stop)
    return _computed("arange", lambda: np.arange(first, last, step, dtype))


def asarray(a: Any, dtype: Any = None) -> ndarray:
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else _computed("astype", lambda host=a._host: host.astype(dtype), a)
    fake_device.upload()
    return _new(np.asarray(a, dtype))


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    host = _device(a)
    if host.flags.c_contiguous and (dtype is None or host.dtype == dtype):
        return a  # type: ignore[no-any-return]  # it is ours
    return _computed("ascontiguousarray", lambda: np.ascontiguousarray(host, dtype), a)


def take(a: Any, indices: Any, axis: int | None = None) -> ndarray:
    host, index = _device(a), _device(indices)
    return _computed("take", lambda: np.take(host, index, axis), a, indices)


def concatenate(tup: Sequence[Any], axis: int = 0) -> ndarray:
    for other in tup[1:]:
        _same_dtype(tup[0], other)
    hosts = [_device(a) for a in tup]
    return _computed("concatenate", lambda: np.concatenate(hosts, axis), *tup)


def matmul(x1: Any, x2: Any, /) -> ndarray:
    fake_device.refuse_while_recording("calling cuBLAS API is currently unsupported", NotImplementedError)
    a, b = _device(x1), _device(x2)
    _same_dtype(x1, x2)
    return _computed("matmul", lambda: np.matmul(a, b), x1, x2)


def from_dlpack(array: Any) -> ndarray:
    """Objects of the tests carry the device array that real ones would export."""
    made = array.__dlpack__()
    if not isinstance(made, ndarray):
        raise TypeError("CPU arrays cannot be directly imported to CuPy")
    return made


# ---- kernels -------------------------------------------------------------------------------------------------------------


@functools.cache
def _program(code: str, options: tuple[str, ...]) -> simulator.Program:
    unknown = [text for text in options if not text.startswith(("-D", "--std=c++17"))]
    if unknown:
        raise ValueError(f"compile options that the simulator does not know: {unknown}")
    sanitize = tuple(filter(None, os.environ.get("GRAPHBP_SIMULATOR_SANITIZE", "").split(",")))
    return simulator.Program(code, [text for text in options if text.startswith("-D")], sanitize)


_allowed: dict[tuple[simulator.Program, str], int] = {}


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        self._program = _program(code, tuple(options))
        self._functions: dict[str, _RawKernel] = {}

    def get_function(self, name: str) -> _RawKernel:
        if name not in self._functions:
            self._functions[name] = _RawKernel(self._program, name)
        return self._functions[name]


class _RawKernel:
    def __init__(self, program: simulator.Program, name: str) -> None:
        self._program, self._name = program, name
        self._loaded = False
        self._signature = program.signature(name)

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """CuPy keeps a module for each source and options: whoever has a function of it sets the same attribute."""
        return _allowed.get((self._program, self._name), simulator.DEFAULT_SHARED)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        _allowed[self._program, self._name] = size

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0) -> None:
        if len(args) != len(self._signature):
            raise TypeError(f"{self._name} takes {len(self._signature)} arguments, got {len(args)}")
        values = [self._value(i, kind, value) for i, (kind, value) in enumerate(zip(self._signature, args, strict=True))]
        asked = self.max_dynamic_shared_size_bytes
        if asked > max(simulator.DEFAULT_SHARED, cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]):
            raise simulator.SimulatedLaunchError(f"{self._name}: more shared memory than the device has")
        if not self._loaded:
            fake_device.refuse_while_recording(f"loading the module of {self._name}")
            self._loaded = True
        program, name, allowed = self._program, self._name, self.max_dynamic_shared_size_bytes

        def action() -> None:
            program.order = order
            program.launch(name, grid, block, shared_mem, values, allowed)

        fake_device.run(name, action, [a._buffer for a in args if isinstance(a, ndarray)])

    def _value(self, position: int, kind: str, value: Any) -> Any:
        where = f"{self._name}, argument {position}"
        if not kind.endswith("*"):
            if not isinstance(value, np.generic) or value.dtype.str[1:] != kind:
                raise TypeError(
                    f"{where}: the kernel reads {kind}, and CuPy would pass the bytes of {value!r} ({type(value).__name__})"
                )
            return np.ctypeslib.as_ctypes_type(value.dtype)(value)
        if not isinstance(value, ndarray):
            raise TypeError(f"{where}: a device array is needed, got {type(value).__name__}")
        wanted = kind.removeprefix("const ").rstrip("*")
        if value.dtype.str[1:] != ("u8" if wanted == "struct" else wanted):
            raise TypeError(f"{where}: the kernel reads {kind}, the array is {value.dtype}")
        if not value.flags.c_contiguous:
            raise TypeError(f"{where}: the array is not C-contiguous, and a kernel knows no strides")
        return ctypes.c_void_p(value.data.ptr)


# ---- cupy.cuda -----------------------------------------------------------------------------------------------------------


class _Device:
    shared = 99 << 10
    multiprocessors = 4

    def __init__(self, device: int = 0) -> None:
        self.id = device
        self.attributes = {"MaxSharedMemoryPerBlockOptin": self.shared, "MultiProcessorCount": self.multiprocessors}

    def __enter__(self) -> _Device:
        return self

    def __exit__(self, *problem: object) -> None: ...


cuda: Any = types.SimpleNamespace(
    Device=_Device,
    Event=fake_device.Event,
    Graph=fake_device.Graph,
    MemoryPool=fake_device.MemoryPool,
    Stream=fake_device.Stream,
    is_available=lambda: True,
    get_current_stream=fake_device.current_stream,
    memory=types.SimpleNamespace(OutOfMemoryError=fake_device.OutOfMemoryError),
    using_allocator=fake_device.using_allocator,
    runtime=types.SimpleNamespace(
        getDeviceProperties=lambda number: {"name": b"CUDA kernels run by g++", "totalGlobalMem": memory.total}
    ),
)
