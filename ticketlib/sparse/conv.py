"""Compiled sparse convolutions, forth, back and for the weights: only rows that a surviving weight joins count."""

from numba import literally

from ticketlib.sparse import simd as v
from ticketlib.sparse import tiles
from ticketlib.sparse.layout import origin, phase_of
from ticketlib.sparse.simd import LANES, inner


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
            tiles.conv_tile((x, weight, offset), span, (source, place), pitches, carry or group > 0, rows, width)
            place += stride
            at += phases * groups


@inner
def _conv_plane(arrays, where, pitches, channels, size):
    """Planes of size = (height, width), tile by tile, all channels in turn: so a tile's source stays in the cache."""
    source, target, first = where
    height, width = size
    x = 0
    while x < width:
        columns = 8 if width - x >= 8 else 4 if width - x >= 4 else 2 if width - x >= 2 else 1
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
            tiles.dot_tile((x, dots, offset), span, (source, place), pitches, rows, width)
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
