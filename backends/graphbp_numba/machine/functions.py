"""Activations and error functions as C functions that the kernels call by address: one kernel then serves every network.

An activation's function maps a run of vectors, `f(source, target, count)`; an error's maps pairs, `f(y, t, target, count)`.  Built-in
activations come from `graphbp_numba.machine.formulas`.  Everything else, registered by a user or a plugin and the error functions, is the
NumPy formula of the core's table, compiled by Numba as a scalar function; plain functions that it calls are compiled along.
"""

from __future__ import annotations

import builtins
import types as pytypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import overload

from graphbp.extend import Activation, ErrorFunction, HeadGroup, NotSupportedError
from graphbp_numba.machine.formulas import FORMULAS, is_native
from graphbp_numba.machine.identity import identity_of
from graphbp_numba.machine.jit import compiled_c, instruction, integers, literal_instruction
from graphbp_numba.machine.lanes import INT64, Lanes, Mask, load, store, vector_type

__all__ = ["VECTOR_BYTES", "ActivationFunctions", "activation_functions", "error_function_addresses", "pair_addresses"]

VECTOR_BYTES = 64
"""One vector: 8 float64 or 16 float32.  Where the machine has narrower registers, LLVM splits it."""

_UNARY = types.void(types.intp, types.intp, types.intp)
_BINARY = types.void(types.intp, types.intp, types.intp, types.intp)
_ITEM = {"float64": 8, "float32": 4}


@literal_instruction
def _map_formula(context: Any, name: Any, kind: Any, dtype: Any, source: Any, target: Any, count: Any) -> Any:
    """target[:count] = formula(source[:count]); count is a multiple of the lanes in a vector."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        vectors = _Vectors(builder, name.literal_value, kind.literal_value, dtype.literal_value)
        source, target, count = arguments[3:]
        formula = getattr(vectors.formula, kind.literal_value)

        def body(offset: Any, _: None) -> None:
            store(builder, vectors.narrow(formula(vectors.load_wide(source, offset))), builder.add(target, offset))

        vectors.loop(_LONG(0), vectors.size(count), body)
        return _LONG(0)

    return types.intp(name, kind, dtype, source, target, count), generate


@literal_instruction
def _map_keeping(context: Any, name: Any, dtype: Any, source: Any, target: Any, kept: Any, count: Any) -> Any:
    """target = h(source), and kept = h' of the blocks some number of which is near a limit of h.

    These are rare in most networks: z alone is made at first, and the block's a waits on the stack for the case.
    """

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        vectors = _Vectors(builder, name.literal_value, "both", dtype.literal_value)
        source, target, kept, count = arguments[2:]
        place = cgutils.alloca_once(builder, ir.IntType(8), size=KEEPING_BYTES + VECTOR_BYTES)  # type: ignore[no-untyped-call]
        room = builder.and_(builder.add(builder.ptrtoint(place, INT64), _LONG(VECTOR_BYTES - 1)), _LONG(-VECTOR_BYTES))
        make, keep = vectors.apart("make", _make_z, 4), vectors.apart("keep", _keep_slopes, 3)

        def block(start: Any, stop: Any) -> None:
            size = builder.sub(stop, start)
            far = builder.call(make, [builder.add(source, start), builder.add(target, start), room, size])
            with builder.if_then(builder.icmp_signed("!=", far, _LONG(0)), likely=False):
                builder.call(keep, [room, builder.add(kept, start), size])

        vectors.blocks(count, block)
        return _LONG(0)

    return types.intp(name, dtype, source, target, kept, count), generate


def _make_z(vectors: _Vectors, source: Any, target: Any, copy: Any, size: Any) -> Any:
    """z of so many bytes of a, and a copy of a; whether some z is near a limit."""

    def body(offset: Any, far: Any) -> Any:
        a = vectors.load(source, offset)
        z, _ = vectors.both(a)
        store(vectors.b, a, vectors.b.add(copy, offset))
        store(vectors.b, z, vectors.b.add(target, offset))
        return vectors.b.or_(far, vectors.far(z))

    return vectors.b.zext(vectors.any(vectors.loop(_LONG(0), size, body, vectors.nowhere)), INT64)


def _keep_slopes(vectors: _Vectors, source: Any, target: Any, size: Any) -> Any:
    """h' of so many bytes of a."""

    def body(offset: Any, _: None) -> None:
        store(vectors.b, vectors.both(vectors.load(source, offset))[1], vectors.b.add(target, offset))

    vectors.loop(_LONG(0), size, body)
    return _LONG(0)


@literal_instruction
def _map_kept(context: Any, name: Any, dtype: Any, source: Any, kept: Any, beta: Any, target: Any, count: Any) -> Any:
    """target = h' β with h' of z = source: what `_map_keeping` kept, and made of z in the other blocks; β is not the target."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        vectors = _Vectors(builder, name.literal_value, "dz", dtype.literal_value)
        source, kept, beta, target, count = arguments[2:]

        def multiply(offset: Any, slope: Lanes) -> None:
            store(builder, slope * vectors.load(beta, offset), builder.add(target, offset))

        def block(start: Any, stop: Any) -> None:
            def make(offset: Any, far: Any) -> Any:
                z = vectors.load(source, offset)
                multiply(offset, vectors.slope_of(z))
                return builder.or_(far, vectors.far(z))

            def take(offset: Any, _: None) -> None:
                multiply(offset, vectors.load(kept, offset))

            with builder.if_then(vectors.any(vectors.loop(start, stop, make, vectors.nowhere)), likely=False):
                vectors.loop(start, stop, take)

        vectors.blocks(count, block)
        return _LONG(0)

    return types.intp(name, dtype, source, kept, beta, target, count), generate


KEEPING_BYTES = 16 * VECTOR_BYTES
"""Numbers whose h' is kept together, or not: a run's four rows of four vectors.  Fewer would have the processor guess more often."""


def _LONG(value: int) -> Any:  # noqa: N802  # a constant of a type
    return ir.Constant(INT64, value)


class _Vectors:
    """Loops over the vectors of arrays, while a formula's function is written."""

    def __init__(self, builder: Any, name: str, kind: str, dtype: str) -> None:
        self.b, self.formula, self.item = builder, FORMULAS[name], _ITEM[dtype]
        self.given = name, kind, dtype
        self.native = dtype == "float64" or is_native(name, kind)
        self.vector = vector_type(dtype, VECTOR_BYTES // self.item)
        self.nowhere = ir.Constant(ir.VectorType(ir.IntType(1), self.vector.count), [0] * self.vector.count)

    def size(self, count: Any) -> Any:
        """Bytes of so many numbers."""
        return self.b.mul(count, _LONG(self.item))

    def load(self, array: Any, offset: Any) -> Lanes:
        """A vector as it stands."""
        return load(self.b, self.b.add(array, offset), self.vector)

    def load_wide(self, array: Any, offset: Any) -> Lanes:
        """A vector in the precision that the formula runs in."""
        value = self.load(array, offset)
        return value if self.native else value.widen()

    def narrow(self, value: Lanes) -> Lanes:
        """A vector from the precision that the formula runs in."""
        return value if self.native else value.narrow()

    def both(self, a: Lanes) -> tuple[Lanes, Lanes]:
        """(h, h') of a."""
        assert self.formula.both is not None
        return self.formula.both(a)

    def slope_of(self, z: Lanes) -> Lanes:
        """h' of z."""
        assert self.formula.dz is not None
        return self.formula.dz(z)

    def far(self, z: Lanes) -> Any:
        """Where h' of z would not do."""
        assert self.formula.far is not None
        return self.formula.far(z).v

    def any(self, mask: Any) -> Any:
        """Whether a mask is true anywhere."""
        return Mask(self.b, mask).any()

    def loop(self, start: Any, stop: Any, body: Callable[[Any, Any], Any], carried: Any = None, step: int = VECTOR_BYTES) -> Any:
        """`for offset in range(start, stop, step): carried = body(offset, carried)`."""
        b = self.b
        before = b.basic_block
        head, inside, after = (b.append_basic_block(label) for label in ("head", "inside", "after"))
        b.branch(head)
        b.position_at_end(head)
        offset = b.phi(INT64)
        offset.add_incoming(start, before)
        value = None if carried is None else b.phi(carried.type)
        if value is not None:
            value.add_incoming(carried, before)
        b.cbranch(b.icmp_signed("<", offset, stop), inside, after)
        b.position_at_end(inside)
        made = body(offset, value)
        offset.add_incoming(b.add(offset, _LONG(step)), b.basic_block)
        if value is not None:
            value.add_incoming(made, b.basic_block)
        b.branch(head)
        b.position_at_end(after)
        return value

    def apart(self, name: str, body: Callable[..., Any], count: int) -> Any:
        """body(vectors, *count integers) as a function of its own: in one loop with others its constants would not all stay in registers."""
        made = ir.Function(self.b.module, ir.FunctionType(INT64, [INT64] * count), name)
        made.linkage = "internal"
        made.attributes.add("noinline")
        builder = ir.IRBuilder(made.append_basic_block())
        builder.ret(body(_Vectors(builder, *self.given), *made.args))
        return made

    def blocks(self, count: Any, block: Callable[[Any, Any], None]) -> None:
        """block(start, stop) for the bytes of `count` numbers, the last one perhaps shorter."""
        b, size = self.b, self.size(count)

        def body(start: Any, _: None) -> None:
            end = b.add(start, _LONG(KEEPING_BYTES))
            block(start, b.select(b.icmp_signed("<", end, size), end, size))

        self.loop(_LONG(0), size, body, step=KEEPING_BYTES)


@cache
def _builtin(name: str, kind: str, dtype: str) -> Any:
    def function(source: int, target: int, count: int) -> None:
        _map_formula(name, kind, dtype, source, target, count)

    return compiled_c(_UNARY)(function)


@cache
def _builtin_keeping(name: str, dtype: str) -> Any:
    def function(source: int, target: int, kept: int, count: int) -> None:
        _map_keeping(name, dtype, source, target, kept, count)

    return compiled_c(_BINARY)(function)


@cache
def _builtin_kept(name: str, dtype: str) -> Any:
    def function(source: int, kept: int, beta: int, target: int, count: int) -> None:
        _map_kept(name, dtype, source, kept, beta, target, count)

    return compiled_c(integers(5))(function)


@instruction
def _get(context: Any, address: Any, index: Any, like: Any) -> Any:
    """The element `index` of an array of the type of `like` at an address."""

    def generate(ctx: Any, builder: Any, __: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ctx.get_value_type(like).as_pointer())
        return builder.load(builder.gep(pointer, [arguments[1]]))

    return like(address, index, like), generate


@instruction
def _put(context: Any, address: Any, index: Any, value: Any) -> Any:
    """Store an element."""

    def generate(ctx: Any, builder: Any, __: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ctx.get_value_type(value).as_pointer())
        builder.store(arguments[2], builder.gep(pointer, [arguments[1]]))
        return ctx.get_dummy_value()

    return types.none(address, index, value), generate


ROOM = 128


@instruction
def _room(context: Any, like: Any) -> Any:
    """The address of `ROOM` elements on the stack."""

    def generate(ctx: Any, builder: Any, _: Any, __: Any) -> Any:
        place = cgutils.alloca_once(builder, ctx.get_value_type(like), size=ROOM)  # type: ignore[no-untyped-call]
        return builder.ptrtoint(place, INT64)

    return types.intp(like), generate


_scalars: dict[str, Any] = {}
"""Compiled scalar functions by identity: what several formulas call is compiled once, and a formula once for both dtypes."""


def _compilable(function: Callable[..., Any], seen: dict[int, Any] | None = None) -> Any:
    """The function with every plain Python function that it reaches, by a global or a closure, compiled too."""
    seen = {} if seen is None else seen
    if id(function) in seen:
        return seen[id(function)]
    if not isinstance(function, pytypes.FunctionType):
        return function  # a ufunc, or compiled already
    if (identity := identity_of(function)) in _scalars:
        return _scalars[identity]
    seen[id(function)] = function  # a recursive function meets itself here, and Numba then says so

    def replace(value: Any) -> Any:
        return _compilable(value, seen) if isinstance(value, pytypes.FunctionType) else value

    names = set(function.__code__.co_names)
    scope = {key: replace(value) for key, value in function.__globals__.items() if key in names}
    scope["__builtins__"] = builtins
    scope["__name__"] = function.__globals__.get("__name__", "user")
    cells = tuple(pytypes.CellType(replace(cell.cell_contents)) for cell in function.__closure__ or ())
    copy = pytypes.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = f"{function.__qualname__}_{identity}"
    seen[id(function)] = njit(error_model="numpy")(copy)
    if identity is not None:
        _scalars[identity] = seen[id(function)]
    return seen[id(function)]


_user: dict[tuple[Any, str, int], Any] = {}


def _from_table(function: Callable[..., Any], dtype: str, arity: int, what: str) -> int:
    """The address of a table's NumPy formula as a C function.  Raises `NotSupportedError` where Numba cannot compile it."""
    key = (identity_of(function) or function, dtype, arity)
    if key not in _user:
        try:
            _user[key] = _compile_scalar(function, dtype, arity)
        except NumbaError as problem:
            reason = str(problem).strip().splitlines()
            raise NotSupportedError(
                f"{what} cannot run on the Numba backend: Numba cannot compile it ({reason[0] if reason else problem}); write it with "
                'NumPy ufuncs and np.where, or use backend="numpy"'
            ) from problem
    return int(_user[key].address)


def _as_scalar(value: Any) -> Any:
    """A number; `np.where` of mixed types makes a 0-dimensional array of it in Numba."""
    return value if np.ndim(value) == 0 else np.asarray(value).item()


@overload(_as_scalar)
def _as_scalar_compiled(value):  # type: ignore[no-untyped-def]  # Numba compares this signature with the lambdas'
    if isinstance(value, types.Array):
        return lambda value: value.item()
    return lambda value: value


def _compile_scalar(function: Callable[..., Any], dtype: str, arity: int) -> Any:
    """The formula as a C function over arrays; it computes in float64, and float32 results are rounded once.

    Results go through room of their own: where the target may be the source, LLVM would take one element at a time.
    """
    real, double, scalar = getattr(np, dtype), np.float64, _compilable(function)

    def unary(source: int, target: int, count: int) -> None:
        room = _room(real(0))
        for start in range(0, count, ROOM):
            size = min(ROOM, count - start)
            for i in range(size):
                _put(room, i, real(_as_scalar(scalar(double(_get(source, start + i, real(0)))))))
            for i in range(size):
                _put(target, start + i, _get(room, i, real(0)))

    def binary(y: int, t: int, target: int, count: int) -> None:
        room = _room(real(0))
        for start in range(0, count, ROOM):
            size = min(ROOM, count - start)
            for i in range(size):
                k = start + i
                _put(room, i, real(_as_scalar(scalar(double(_get(y, k, real(0))), double(_get(t, k, real(0)))))))
            for i in range(size):
                _put(target, start + i, _get(room, i, real(0)))

    if arity == 1:
        return compiled_c(_UNARY, (function, dtype))(unary)
    return compiled_c(_BINARY, (function, dtype))(binary)


class ActivationFunctions:
    """The C functions of one activation, each compiled when first asked for.

    from_z : h' is had from z, by `dz`; else the sweep keeps a copy of a.
    keeps_slope : not where z is near a limit of h: there the sweep keeps h'.
    """

    def __init__(self, activation: Activation, dtype: str) -> None:
        self.activation, self.dtype = activation, dtype
        self.formula = FORMULAS.get(activation.name) if activation.builtin else None
        if activation.builtin and self.formula is None and activation.elementwise:
            raise NotSupportedError(
                f'the Numba backend has no kernel for the built-in activation {activation.name!r}; use backend="numpy"'
            )

    @property
    def from_z(self) -> bool:
        """Whether the reverse sweep may compute h' from z."""
        return self.formula is not None and self.formula.dz is not None

    @property
    def keeps_slope(self) -> bool:
        """Whether the forward sweep keeps h' where z is near a limit."""
        return self.formula is not None and self.formula.far is not None

    def keeping(self) -> tuple[int, int]:
        """The addresses of the C functions (a, z, kept, count) that makes z and keeps h', and (z, kept, β, h' β, count)."""
        name = self.activation.name
        return int(_builtin_keeping(name, self.dtype).address), int(_builtin_kept(name, self.dtype).address)

    def address(self, kind: str) -> int:
        """The address of "f", "df", "d2f" or "dz"; 0 for softmax, which acts at the heads."""
        if not self.activation.elementwise:
            return 0
        if self.formula is not None:
            return int(_builtin(self.activation.name, kind, self.dtype).address)
        return _from_table(getattr(self.activation, kind), self.dtype, 1, f"activation {self.activation.name!r} ({kind})")


_activations: dict[tuple[Activation, str], ActivationFunctions] = {}


def activation_functions(activation: Activation, dtype: str) -> ActivationFunctions:
    """The C functions of an activation in one dtype."""
    key = (activation, dtype)
    if key not in _activations:
        _activations[key] = ActivationFunctions(activation, dtype)
    return _activations[key]


@cache
def error_function_addresses(error: ErrorFunction, dtype: str) -> tuple[int, int, int]:
    """Addresses of e, ∂e/∂y and ∂²e/∂y² as C functions of (y, t)."""
    value, dy, d2y = (
        _from_table(getattr(error, kind), dtype, 2, f"error function {error.name!r} ({kind})") for kind in ("value", "dy", "d2y")
    )
    return value, dy, d2y


def pair_addresses(head: HeadGroup, dtype: str, *kinds: str) -> list[int]:
    """Addresses of functions of a head's pair as C functions of (a, t)."""
    what = f"error function {head.error.name!r} at {head.activation.name}"
    return [_from_table(getattr(head.pair, kind), dtype, 2, f"{what} ({kind})") for kind in kinds]
