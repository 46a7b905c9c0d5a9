"""The two inner loops of a sparse convolution, over tiles of vectors that stay in registers."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ticketlib.sparse.simd import (
    INT,
    LANES,
    LONG,
    VECTOR,
    floats_at,
    fuse,
    load_at,
    pointer_to,
    spread,
    store_at,
)


def _tile(builder, pointer, strides, shape):
    """Pointers to a tile's vectors: strides in floats from row to row and from vector to vector."""
    for row in range(shape[0]):
        for column in range(shape[1]):
            down = builder.mul(strides[0], ir.Constant(LONG, row))
            right = builder.mul(strides[1], ir.Constant(LONG, column))
            yield builder.bitcast(builder.gep(pointer, [builder.add(down, right)]), VECTOR.as_pointer())


def loop(builder, span, carried, body):
    """`for k in range(*span): carried = body(k, carried)` on lists of values; returns the last."""
    before = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(LONG)
    values = [builder.phi(value.type) for value in carried]
    builder.cbranch(builder.icmp_signed("<", k, span[1]), inside, done)
    builder.position_at_end(inside)
    updated = body(k, values)
    following = builder.add(k, ir.Constant(LONG, 1))
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
        loaded = [load_at(builder, pointer) for pointer in pointers]
        inside = builder.block
    values = [builder.phi(VECTOR) for _ in loaded]
    for phi, value in zip(values, loaded, strict=True):
        phi.add_incoming(ir.Constant(VECTOR, [0.0] * LANES), before)
        phi.add_incoming(value, inside)
    return values


def row_at(builder, x, source, offset, k):
    """Pointer to where entry k's row starts."""
    offset = builder.inttoptr(offset, INT.as_pointer())
    away = builder.sext(builder.load(builder.gep(offset, [k])), LONG)
    return builder.gep(x, [builder.add(source, away)])


def members(builder, args, count):
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
        (x, weight, offset), span_, (source, target), (pitch, *strides) = members(builder, args, 4)
        x, weight = floats_at(builder, x), floats_at(builder, weight)

        def add(k, sums):
            scale = spread(builder, builder.load(builder.gep(weight, [k])))
            tile = _tile(builder, row_at(builder, x, source, offset, k), (pitch, ir.Constant(LONG, LANES)), shape)
            return [fuse(builder, scale, load_at(builder, p), value) for p, value in zip(tile, sums, strict=True)]

        pointers = list(_tile(builder, builder.gep(x, [target]), strides, shape))
        sums = loop(builder, span_, _load_if(builder, args[4], pointers), add)
        for value, pointer in zip(sums, pointers, strict=True):
            store_at(builder, value, pointer)
        return context.get_dummy_value()

    return types.void(arrays, span, where, pitches, types.boolean, rows, width), code


@intrinsic(prefer_literal=True)
def dot_tile(typing, arrays, span, where, pitches, rows, width):
    """dots[k] += the products of x's tiles at target and at source + offset[k], lane by lane, for k in span.

    Arguments: as conv_tile, with dots (float32, LANES for each entry) for weight; pitches: of source and target.
    """
    shape = (rows.literal_value, width.literal_value)

    def code(context, builder, signature, args):
        (x, dots, offset), span_, (source, target), pitches_ = members(builder, args, 4)
        x, step = floats_at(builder, x), ir.Constant(LONG, LANES)
        held = [load_at(builder, p) for p in _tile(builder, builder.gep(x, [target]), (pitches_[1], step), shape)]

        def dot(k, _):
            tile = _tile(builder, row_at(builder, x, source, offset, k), (pitches_[0], step), shape)
            chains = [ir.Constant(VECTOR, [0.0] * LANES)] * 4
            for i, (value, p) in enumerate(zip(held, tile, strict=True)):
                chains[i % 4] = fuse(builder, value, load_at(builder, p), chains[i % 4])
            place = pointer_to(builder, dots, builder.mul(k, step))
            pairs = [builder.fadd(chains[i], chains[i + 1]) for i in (0, 2)]
            store_at(builder, builder.fadd(load_at(builder, place), builder.fadd(*pairs)), place)
            return []

        loop(builder, span_, [], dot)
        return context.get_dummy_value()

    return types.void(arrays, span, where, pitches, rows, width), code
