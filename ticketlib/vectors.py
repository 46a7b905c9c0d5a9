"""Short float32 vectors and register tiles as values inside numba functions.

A vector is LANES floats. A tile is a tuple of vectors that LLVM keeps in registers: `rows` runs of adjacent vectors,
one run every `pitch` floats. Positions count floats from the start of a flat float32 array and are multiples of LANES.
"""

import operator

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

# One vector fills a register: AVX-512 has 32 of 16 floats, what came before it 16 of 8 (a tile of 16 then spills).
LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)


class VectorType(types.Type):
    """The numba type of LANES float32 values."""

    def __init__(self):
        super().__init__(name=f"vector({LANES})")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, _VECTOR)


def _pointer(context, builder, array_type, array, position):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [position]), _VECTOR.as_pointer())


def _load(builder, pointer):
    value = builder.load(pointer)
    value.align = 4 * LANES
    return value


def _store(builder, value, pointer):
    builder.store(value, pointer).align = 4 * LANES


def _splat(builder, scalar):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _fma(builder, a, b, c):
    """a * b + c, in one rounding where the machine has it."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32"), [a, b, c])


def _tile_pointers(context, builder, array_type, array, where, shape):
    """Pointers to a tile's vectors; where = (position, pitch), shape = (rows, vectors)."""
    position, pitch = where
    rows, count = shape
    for row in range(rows):
        start = builder.add(position, builder.mul(pitch, ir.Constant(pitch.type, row)))
        for column in range(count // rows):
            here = builder.add(start, ir.Constant(start.type, column * LANES))
            yield _pointer(context, builder, array_type, array, here)


@intrinsic
def load(typing, array, position):
    """The vector at a position."""

    def code(context, builder, signature, args):
        return _load(builder, _pointer(context, builder, signature.args[0], *args))

    return vector(array, position), code


@intrinsic
def store(typing, array, position, value):
    """Write a vector to a position."""

    def code(context, builder, signature, args):
        _store(builder, args[2], _pointer(context, builder, signature.args[0], *args[:2]))
        return context.get_dummy_value()

    return types.void(array, position, vector), code


@intrinsic
def splat(typing, scalar):
    """The vector whose lanes all hold one number."""
    return vector(types.float32), lambda context, builder, signature, args: _splat(builder, args[0])


@intrinsic
def fma(typing, a, b, c):
    """a * b + c."""
    return vector(vector, vector, vector), lambda context, builder, signature, args: _fma(builder, *args)


@intrinsic
def where_positive(typing, test, value):
    """The lanes of value where test > 0, else 0."""

    def code(context, builder, signature, args):
        keep = builder.fcmp_ordered(">", args[0], ir.Constant(_VECTOR, [0.0] * LANES))
        return builder.select(keep, args[1], ir.Constant(_VECTOR, [0.0] * LANES))

    return vector(vector, vector), code


@intrinsic
def where_equal(typing, a, b, value, other):
    """The lanes of value where a == b, of other elsewhere."""

    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("==", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), code


@intrinsic
def where_larger(typing, a, b, value, other):
    """The lanes of value where a > b, of other elsewhere."""

    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), code


@intrinsic
def larger(typing, a, b):
    """The larger of two vectors, lane by lane."""

    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[0], args[1])

    return vector(vector, vector), code


@intrinsic
def total(typing, value):
    """The sum of a vector's lanes, halves added first."""

    def code(context, builder, signature, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            low, high = (ir.Constant(ir.VectorType(_INT, width), [i + k for i in range(width)]) for k in (0, width))
            value = builder.fadd(*(builder.shuffle_vector(value, value, part) for part in (low, high)))
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(vector), code


def _operator(function, method):
    @intrinsic
    def apply(typing, a, b):
        return vector(vector, vector), lambda context, builder, signature, args: getattr(builder, method)(*args)

    @overload(function)
    def choose(a, b):
        if isinstance(a, VectorType) and isinstance(b, VectorType):
            return lambda a, b: apply(a, b)


for _function, _method in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_function, _method)


@intrinsic(prefer_literal=True)
def tile_zeros(typing, count):
    """A tile of `count` zero vectors (a literal)."""
    kind = types.UniTuple(vector, count.literal_value)
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    return kind(count), lambda context, builder, signature, args: cgutils.pack_array(builder, [zero] * kind.count)


@intrinsic(prefer_literal=True)
def tile_fma(typing, tile, scale, array, position, pitch, rows):
    """tile + scale * the tile of `array` at a position; rows is a literal."""

    def code(context, builder, signature, args):
        tile_, scale_, array_, *where = args[:5]
        scale_, shape = _splat(builder, scale_), (rows.literal_value, tile.count)
        pointers = _tile_pointers(context, builder, array, array_, where, shape)
        sums = [_fma(builder, scale_, _load(builder, p), builder.extract_value(tile_, i)) for i, p in enumerate(pointers)]
        return cgutils.pack_array(builder, sums)

    return tile(tile, scale, array, position, pitch, rows), code


@intrinsic(prefer_literal=True)
def tile_dot(typing, tile, array, position, pitch, rows):
    """The sum over a tile's vectors of vector * the one of `array` in its place, lane by lane, in four chains."""

    def code(context, builder, signature, args):
        tile_, array_, *where = args[:4]
        chains = [ir.Constant(_VECTOR, [0.0] * LANES)] * 4
        pointers = _tile_pointers(context, builder, array, array_, where, (rows.literal_value, tile.count))
        for i, pointer in enumerate(pointers):
            chains[i % 4] = _fma(builder, builder.extract_value(tile_, i), _load(builder, pointer), chains[i % 4])
        return builder.fadd(builder.fadd(chains[0], chains[1]), builder.fadd(chains[2], chains[3]))

    return vector(tile, array, position, pitch, rows), code


@intrinsic(prefer_literal=True)
def tile_load(typing, count, array, position, pitch, rows):
    """The tile of `count` vectors (a literal) at a position."""
    kind = types.UniTuple(vector, count.literal_value)

    def code(context, builder, signature, args):
        pointers = _tile_pointers(context, builder, array, args[1], args[2:4], (rows.literal_value, kind.count))
        return cgutils.pack_array(builder, [_load(builder, p) for p in pointers])

    return kind(count, array, position, pitch, rows), code


@intrinsic(prefer_literal=True)
def tile_store(typing, tile, array, position, pitch, rows):
    """Write a tile to a position."""

    def code(context, builder, signature, args):
        pointers = _tile_pointers(context, builder, array, args[1], args[2:4], (rows.literal_value, tile.count))
        for i, pointer in enumerate(pointers):
            _store(builder, builder.extract_value(args[0], i), pointer)
        return context.get_dummy_value()

    return types.void(tile, array, position, pitch, rows), code
