"""Vector values in the LLVM IR being written: arithmetic on a `Lanes` writes vector instructions.

Numba compiles scalar Python; a loop over a handful of lanes is unrolled, not vectorised.  So the inner loops and the activations
are written here as explicit vectors, through `numba.extending.intrinsic`, in ordinary arithmetic:

    >>> def softsign(a):                       # a : Lanes
    ...     return a / (a.abs() + 1)

Nothing is reassociated or contracted behind the formula's back: a fused multiply–add is written `fma(a, b, c)`, so error-free
transformations stay exact, and a NaN, an infinity or a signed zero does what IEEE 754 says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

__all__ = ["INT32", "INT64", "Lanes", "Mask", "declared", "fma", "load", "polynomial", "store", "vector_type", "where"]

INT32, INT64 = ir.IntType(32), ir.IntType(64)
Number = float | int


def vector_type(dtype: str, count: int) -> Any:
    """The LLVM type of `count` lanes of "float64", "float32", "int64" or "int32"."""
    return ir.VectorType({"float64": ir.DoubleType(), "float32": ir.FloatType(), "int64": INT64, "int32": INT32}[dtype], count)


def declared(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """The LLVM intrinsic or C function `name`, declared in this module once."""
    known = builder.module.globals.get(name)
    return known if known is not None else ir.Function(builder.module, ir.FunctionType(result, arguments), name)


class Mask:
    """One truth value a lane."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.b, self.v = builder, value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.b, self.b.and_(self.v, other.v))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.b, self.b.or_(self.v, other.v))

    def __invert__(self) -> Mask:
        return Mask(self.b, self.b.not_(self.v))

    def any(self) -> Any:
        """An i1: whether any lane is true."""
        n = self.v.type.count
        return self.b.icmp_unsigned("!=", self.b.bitcast(self.v, ir.IntType(n)), ir.Constant(ir.IntType(n), 0))


class Lanes:
    """A vector of floats, or of integers (then +, −, &, |, << and >> work on the integers)."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.b, self.v = builder, value

    @property
    def count(self) -> int:
        """How many lanes."""
        return int(self.v.type.count)

    @property
    def is_float(self) -> bool:
        """Floats, not integers."""
        return not isinstance(self.v.type.element, ir.IntType)

    def constant(self, value: Number) -> Lanes:
        """All lanes `value`, of this vector's type."""
        return Lanes(self.b, ir.Constant(self.v.type, [value] * self.count))

    def _other(self, other: Lanes | Number) -> Any:
        return other.v if isinstance(other, Lanes) else self.constant(other).v

    def _make(self, instruction: str, integer: str, other: Lanes | Number, swap: bool = False) -> Lanes:
        left, right = self.v, self._other(other)
        if swap:
            left, right = right, left
        return Lanes(self.b, getattr(self.b, instruction if self.is_float else integer)(left, right))

    def __add__(self, other: Lanes | Number) -> Lanes:
        return self._make("fadd", "add", other)

    def __sub__(self, other: Lanes | Number) -> Lanes:
        return self._make("fsub", "sub", other)

    def __mul__(self, other: Lanes | Number) -> Lanes:
        return self._make("fmul", "mul", other)

    def __truediv__(self, other: Lanes | Number) -> Lanes:
        return self._make("fdiv", "sdiv", other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Number) -> Lanes:
        return self._make("fsub", "sub", other, swap=True)

    def __rtruediv__(self, other: Number) -> Lanes:
        return self._make("fdiv", "sdiv", other, swap=True)

    def __neg__(self) -> Lanes:
        return Lanes(self.b, self.b.fneg(self.v))

    def __and__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.and_(self.v, self._other(other)))

    def __or__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.or_(self.v, self._other(other)))

    def __lshift__(self, other: int) -> Lanes:
        return Lanes(self.b, self.b.shl(self.v, self._other(other)))

    def __rshift__(self, other: int) -> Lanes:
        return Lanes(self.b, self.b.ashr(self.v, self._other(other)))

    def compare(self, relation: str, other: Lanes | Number) -> Mask:
        """Ordered comparison (false where either is NaN; "!=" is true there)."""
        if not self.is_float:
            return Mask(self.b, self.b.icmp_signed(relation, self.v, self._other(other)))
        test = self.b.fcmp_unordered if relation == "!=" else self.b.fcmp_ordered
        return Mask(self.b, test(relation, self.v, self._other(other)))

    def __lt__(self, other: Lanes | Number) -> Mask:
        return self.compare("<", other)

    def __le__(self, other: Lanes | Number) -> Mask:
        return self.compare("<=", other)

    def __gt__(self, other: Lanes | Number) -> Mask:
        return self.compare(">", other)

    def __ge__(self, other: Lanes | Number) -> Mask:
        return self.compare(">=", other)

    def equals(self, other: Lanes | Number) -> Mask:
        """Where the two are equal, −0 and 0 too."""
        return self.compare("==", other)

    def is_nan(self) -> Mask:
        """Where it is no number."""
        return self.compare("!=", self)

    def _intrinsic(self, name: str, *others: Lanes) -> Lanes:
        t = self.v.type
        suffix = f"v{self.count}f{64 if isinstance(t.element, ir.DoubleType) else 32}"
        function = declared(self.b, f"llvm.{name}.{suffix}", t, *[t] * (1 + len(others)))
        return Lanes(self.b, self.b.call(function, [self.v, *(other.v for other in others)]))

    def abs(self) -> Lanes:
        """|a|."""
        return self._intrinsic("fabs")

    def sqrt(self) -> Lanes:
        """√a, correctly rounded."""
        return self._intrinsic("sqrt")

    def copysign(self, sign: Lanes) -> Lanes:
        """|a| with the sign of `sign`."""
        return self._intrinsic("copysign", sign)

    def clamp(self, low: Number, high: Number) -> Lanes:
        """Into [low, high]; a NaN stays a NaN."""
        return where(self < low, low, where(self > high, high, self))

    @property
    def is_double(self) -> bool:
        """64 bits a lane, floats or integers; else 32."""
        return self.v.type.element in (ir.DoubleType(), INT64)

    def bits(self) -> Lanes:
        """The bit patterns of floats, as integers of their width."""
        return Lanes(self.b, self.b.bitcast(self.v, vector_type("int64" if self.is_double else "int32", self.count)))

    def as_float(self) -> Lanes:
        """Integers read as the bit patterns of floats of their width."""
        return Lanes(self.b, self.b.bitcast(self.v, vector_type("float64" if self.is_double else "float32", self.count)))

    def widen(self) -> Lanes:
        """float32 to float64."""
        return Lanes(self.b, self.b.fpext(self.v, ir.VectorType(ir.DoubleType(), self.count)))

    def narrow(self) -> Lanes:
        """float64 to float32, rounded once."""
        return Lanes(self.b, self.b.fptrunc(self.v, ir.VectorType(ir.FloatType(), self.count)))


def where(mask: Mask, yes: Lanes | Number, no: Lanes | Number) -> Lanes:
    """yes where the mask is true, else no."""
    shape = yes if isinstance(yes, Lanes) else no
    assert isinstance(shape, Lanes)
    return Lanes(mask.b, mask.b.select(mask.v, shape._other(yes), shape._other(no)))


def fma(a: Lanes, b: Lanes | Number, c: Lanes | Number) -> Lanes:
    """a b + c, rounded once."""
    return a._intrinsic("fma", Lanes(a.b, a._other(b)), Lanes(a.b, a._other(c)))


def polynomial(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """Σ_i c_i x^i, by Horner's rule with fused multiply–adds."""
    value = x.constant(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = fma(value, x, c)
    return value


def load(builder: Any, address: Any, vector: Any) -> Lanes:
    """A vector from an address (an i64) that is aligned to one element only."""
    return Lanes(builder, _at(builder, builder.load, builder.inttoptr(address, vector.as_pointer()), vector))


def _at(builder: Any, instruction: Any, pointer: Any, vector: Any) -> Any:
    made = instruction(pointer)
    made.align = 4 if isinstance(vector.element, ir.FloatType) else 8
    return made


def store(builder: Any, value: Lanes, address: Any) -> None:
    """A vector to an address that is aligned to one element only."""
    made = builder.store(value.v, builder.inttoptr(address, value.v.type.as_pointer()))
    made.align = 4 if isinstance(value.v.type.element, ir.FloatType) else 8
