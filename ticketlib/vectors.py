"""Short float32 vectors as values inside numba functions, and the two loops over register tiles made of them.

A vector is LANES floats. Positions count floats from the start of a flat float32 array and are multiples of LANES.
"""

import operator

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

# One vector fills a register: AVX-512 has 32 of 16 floats, what came before it 16 of 8 (a tile of 16 then spills).
LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8

_FLOAT, _INT, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
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


def _floats(builder, address):
    return builder.inttoptr(address, _FLOAT.as_pointer())


def _pointer(builder, address, position):
    return builder.bitcast(builder.gep(_floats(builder, address), [position]), _VECTOR.as_pointer())


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


@intrinsic
def address(typing, array):
    """Where an array's data begin, an integer: passing arrays from function to function costs time, integers do not."""

    def code(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _LONG)

    return types.int64(array), code


@intrinsic
def integer(typing, x, position):
    """One number of the int64 array at address x."""

    def code(context, builder, signature, args):
        return builder.load(builder.gep(builder.inttoptr(args[0], _LONG.as_pointer()), [args[1]]))

    return types.int64(types.int64, types.int64), code


@intrinsic
def load(typing, x, position):
    """The vector at a position of the float32 array at address x."""

    def code(context, builder, signature, args):
        return _load(builder, _pointer(builder, *args))

    return vector(types.int64, types.int64), code


@intrinsic
def store(typing, x, position, value):
    """Write a vector to a position of the float32 array at address x."""

    def code(context, builder, signature, args):
        _store(builder, args[2], _pointer(builder, *args[:2]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, vector), code


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


def _tile(builder, pointer, strides, shape):
    """Pointers to a tile's vectors: strides in floats from row to row and from vector to vector."""
    for row in range(shape[0]):
        for column in range(shape[1]):
            down = builder.mul(strides[0], ir.Constant(_LONG, row))
            right = builder.mul(strides[1], ir.Constant(_LONG, column))
            yield builder.bitcast(builder.gep(pointer, [builder.add(down, right)]), _VECTOR.as_pointer())


def _loop(builder, span, carried, body):
    """`for k in range(*span): carried = body(k, carried)` on lists of values; returns the last."""
    before = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(_LONG)
    values = [builder.phi(value.type) for value in carried]
    builder.cbranch(builder.icmp_signed("<", k, span[1]), inside, done)
    builder.position_at_end(inside)
    updated = body(k, values)
    following = builder.add(k, ir.Constant(_LONG, 1))
    for phi, first, then in zip([k, *values], [span[0], *carried], [following, *updated], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return values


def _load_if(builder, flag, pointers):
    """The vectors at some pointers, or zeros unless flag."""
    before = builder.block
    with builder.if_then(flag):
        loaded = [_load(builder, pointer) for pointer in pointers]
        inside = builder.block
    values = [builder.phi(_VECTOR) for _ in loaded]
    for phi, value in zip(values, loaded, strict=True):
        phi.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
        phi.add_incoming(value, inside)
    return values


def _row(builder, x, source, offset, k):
    """Pointer to where entry k's row starts."""
    offset = builder.inttoptr(offset, _INT.as_pointer())
    away = builder.sext(builder.load(builder.gep(offset, [k])), _LONG)
    return builder.gep(x, [builder.add(source, away)])


def _members(builder, args, count):
    """The members of the leading tuples among an intrinsic's arguments."""
    return [cgutils.unpack_tuple(builder, arg) for arg in args[:count]]


@intrinsic(prefer_literal=True)
def conv_tile(typing, arrays, span, where, pitches, carry, rows, width):
    """x[tile at target] = the sum over k in span of weight[k] * x[tile at source + offset[k]].

    Arguments: arrays: addresses of x, weight (float32) and offset (int32). span: first and last + 1. where: (source,
    target). pitches: from row to row at the source, at the target, and from vector to vector at the target (LANES at
    the source). carry: whether the sum starts from what is at the target. rows, width: of the tile, literals; it
    stays in registers.
    """
    shape = (rows.literal_value, width.literal_value)

    def code(context, builder, signature, args):
        (x, weight, offset), span_, (source, target), (pitch, *strides) = _members(builder, args, 4)
        x, weight = _floats(builder, x), _floats(builder, weight)

        def add(k, sums):
            scale = _splat(builder, builder.load(builder.gep(weight, [k])))
            tile = _tile(builder, _row(builder, x, source, offset, k), (pitch, ir.Constant(_LONG, LANES)), shape)
            return [_fma(builder, scale, _load(builder, p), value) for p, value in zip(tile, sums, strict=True)]

        pointers = list(_tile(builder, builder.gep(x, [target]), strides, shape))
        sums = _loop(builder, span_, _load_if(builder, args[4], pointers), add)
        for value, pointer in zip(sums, pointers, strict=True):
            _store(builder, value, pointer)
        return context.get_dummy_value()

    return types.void(arrays, span, where, pitches, types.boolean, rows, width), code


@intrinsic(prefer_literal=True)
def dot_tile(typing, arrays, span, where, pitches, rows, width):
    """dots[k] += the products of x's tiles at target and at source + offset[k], lane by lane, for k in span.

    Arguments: as conv_tile, with dots (float32, LANES for each entry) for weight; pitches: of source and target.
    """
    shape = (rows.literal_value, width.literal_value)

    def code(context, builder, signature, args):
        (x, dots, offset), span_, (source, target), pitches_ = _members(builder, args, 4)
        x, step = _floats(builder, x), ir.Constant(_LONG, LANES)
        held = [_load(builder, p) for p in _tile(builder, builder.gep(x, [target]), (pitches_[1], step), shape)]

        def dot(k, _):
            tile = _tile(builder, _row(builder, x, source, offset, k), (pitches_[0], step), shape)
            chains = [ir.Constant(_VECTOR, [0.0] * LANES)] * 4
            for i, (value, p) in enumerate(zip(held, tile, strict=True)):
                chains[i % 4] = _fma(builder, value, _load(builder, p), chains[i % 4])
            place = _pointer(builder, dots, builder.mul(k, step))
            pairs = [builder.fadd(chains[i], chains[i + 1]) for i in (0, 2)]
            _store(builder, builder.fadd(_load(builder, place), builder.fadd(*pairs)), place)
            return []

        _loop(builder, span_, [], dot)
        return context.get_dummy_value()

    return types.void(arrays, span, where, pitches, rows, width), code
