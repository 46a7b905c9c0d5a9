"""Compiled sparse convolutions, forth, back and for the weights: only rows that a surviving weight joins count.

First the two inner loops, over tiles of vectors that stay in registers; then what walks them over planes and channels.
"""

from llvmlite import ir
from numba import literally, types
from numba.core import cgutils
from numba.extending import intrinsic

from ticketlib.sparse import simd as v
from ticketlib.sparse.layout import origin, phase_of
from ticketlib.sparse.simd import (
    INT,
    LANES,
    LONG,
    VECTOR,
    floats_at,
    fuse,
    inner,
    load_at,
    pointer_to,
    spread,
    store_at,
)

WIDEST = LANES // 2  # vectors in a row of sums: two rows take half of the registers, 32 with AVX-512, else 16


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


@inner
def _conv_tiles(rows, width, arrays, where, pitches, channels):
    """One tile of every channel; channels = (how many, stride of the target's, phases, carry, groups).

    Group by group of the source's channels, so that what the tile reads of a group stays in the first cache. Sums go
    on in the same order whatever the groups, so these change no digit.
    """
    literally(rows)
    literally(width)
    x, weight, offset, starts = arrays
    source, target, first = where
    count, stride, phases, carry, groups = channels
    for group in range(groups):
        place, at = target, first + group
        for _ in range(count):
            span = v.integer(starts, at), v.integer(starts, at + 1)
            conv_tile((x, weight, offset), span, (source, place), pitches, carry or group > 0, rows, width)
            place += stride
            at += phases * groups


@inner
def _conv_plane(arrays, where, pitches, channels, size):
    """Planes of size = (height, width), tile by tile, all channels in turn: so a tile's source stays in the cache."""
    source, target, first = where
    height, width = size
    x = 0
    while x < width:
        columns = WIDEST if width - x >= WIDEST else 4 if width - x >= 4 else 2 if width - x >= 2 else 1
        for y in range(0, height, 2):
            here = source + y * pitches[0] + x * LANES, target + y * pitches[1] + x * pitches[2], first
            pair = y + 1 < height
            if columns == 8 and pair:
                _conv_tiles(2, 8, arrays, here, pitches, channels)
            elif columns == 8:
                _conv_tiles(1, 8, arrays, here, pitches, channels)
            elif columns == 4 and pair:
                _conv_tiles(2, 4, arrays, here, pitches, channels)
            elif columns == 4:
                _conv_tiles(1, 4, arrays, here, pitches, channels)
            elif columns == 2 and pair:
                _conv_tiles(2, 2, arrays, here, pitches, channels)
            elif columns == 2:
                _conv_tiles(1, 2, arrays, here, pitches, channels)
            elif pair:
                _conv_tiles(2, 1, arrays, here, pitches, channels)
            else:
                _conv_tiles(1, 1, arrays, here, pitches, channels)
        x += columns


@inner
def _dot_tiles(rows, width, arrays, where, pitches, channels):
    """As _conv_tiles: the products of a tile of every channel with every one that its taps name."""
    literally(rows)
    literally(width)
    x, dots, offset, starts = arrays
    source, target, first = where
    count, stride, groups = channels
    for group in range(groups):
        place, at = target, first + group
        for _ in range(count):
            span = v.integer(starts, at), v.integer(starts, at + 1)
            dot_tile((x, dots, offset), span, (source, place), pitches, rows, width)
            place += stride
            at += groups


@inner
def _dot_plane(arrays, where, pitches, channels, size):
    """As _conv_plane."""
    source, target, first = where
    height, width = size
    x = 0
    while x < width:
        columns = 8 if width - x >= 8 else 4 if width - x >= 4 else 2 if width - x >= 2 else 1
        for y in range(0, height, 2):
            here = source + y * pitches[0] + x * LANES, target + y * pitches[1] + x * LANES, first
            pair = y + 1 < height
            if columns == 8 and pair:
                _dot_tiles(2, 8, arrays, here, pitches, channels)
            elif columns == 8:
                _dot_tiles(1, 8, arrays, here, pitches, channels)
            elif columns == 4 and pair:
                _dot_tiles(2, 4, arrays, here, pitches, channels)
            elif columns == 4:
                _dot_tiles(1, 4, arrays, here, pitches, channels)
            elif columns == 2 and pair:
                _dot_tiles(2, 2, arrays, here, pitches, channels)
            elif columns == 2:
                _dot_tiles(1, 2, arrays, here, pitches, channels)
            elif pair:
                _dot_tiles(2, 1, arrays, here, pitches, channels)
            else:
                _dot_tiles(1, 1, arrays, here, pitches, channels)
        x += columns


@inner
def convolve(net, layer, block):
    """Write a block of z."""
    source, z, taps = layer.source, layer.z, net.taps
    weight, offset = v.address(net.w) + 4 * layer.first, v.address(taps.offset) + 4 * layer.first
    arrays = v.address(net.x), weight, offset, v.address(taps.starts)
    where = source.base + block * source.block, origin(z, block, 0), layer.starts
    # z.split is 1; written as literals, 1 and False would make a second copy of the loops below, to be compiled too.
    channels = z.channels, z.channel, z.split, z.split > 1, layer.groups
    _conv_plane(arrays, where, (source.pitch, z.pitch, z.split * LANES), channels, (z.height, z.width))


@inner
def convolve_back(net, weight, layer, dy, block):
    """Write, or add to, a block of dy, the gradient of layer.source, from layer.dz."""
    source, dz, taps = layer.source, layer.dz, net.taps
    split = source.split
    offset = v.address(taps.back_offset) + 4 * layer.back
    arrays = v.address(net.x), v.address(weight) + 4 * layer.back, offset, v.address(taps.back_starts)
    pitches = dz.pitch, split * dy.pitch, split * LANES
    channels = dy.channels, dy.channel, split * split, layer.carry > 0, layer.back_groups
    for phase in range(split * split):
        _, top, left, rows, columns = phase_of(source, 0, 0, phase)
        target = origin(dy, block, 0) + top * dy.pitch + left * LANES
        where = dz.base + block * dz.block, target, layer.back_starts + phase * layer.back_groups
        _conv_plane(arrays, where, pitches, channels, (rows, columns))


@inner
def dots(net, layer, block):
    """Add a block's share to each surviving weight's gradient, lane by lane: the product of the rows it joins."""
    source, dz, taps = layer.source, layer.dz, net.taps
    offset = v.address(taps.offset) + 4 * layer.first
    arrays = v.address(net.x), v.address(net.dots), offset, v.address(taps.starts)
    where = source.base + block * source.block, origin(dz, block, 0), layer.starts
    channels = dz.channels, dz.channel, layer.groups
    _dot_plane(arrays, where, (source.pitch, dz.pitch), channels, (dz.height, dz.width))
