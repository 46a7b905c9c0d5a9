"""Compiled passes of a max-pool over 2 x 2 windows together with the batch norm and ReLU before it."""

from ticketlib.sparse import simd as v
from ticketlib.sparse.layout import origin
from ticketlib.sparse.norm import zero
from ticketlib.sparse.simd import LANES, inner


@inner
def _window(z, start, y, x):
    """First position of a window, and how many rows and columns it covers: 2, or 1 at an odd edge."""
    return start + 2 * y * z.pitch + 2 * x * LANES, min(2, z.height - 2 * y), min(2, z.width - 2 * x)


@inner
def _largest(x, window, pitch, scale, shift):
    """The largest scale * z + shift of a window, lane by lane, and the z of the first that reaches it."""
    at, rows, columns = window
    won = v.load(x, at)
    best = v.fma(scale, won, shift)
    for p in range(1, rows * columns):
        value = v.load(x, at + p // columns * pitch + p % columns * LANES)
        out = v.fma(scale, value, shift)
        won, best = v.where_larger(out, best, value, won), v.where_larger(out, best, out, best)
    return best, won


@inner
def activate(net, layer, lanes, block):
    """As norms.activate, each window reduced to its largest."""
    x, z, out = v.address(net.x), layer.z, layer.out
    for c in range(out.channels):
        channel = net.channels[layer.norm + c]
        scale, shift = v.splat(channel.scale), v.splat(channel.shift) * lanes
        for y in range(out.height):
            for column in range(out.width):
                best, _ = _largest(x, _window(z, origin(z, block, c), y, column), z.pitch, scale, shift)
                target = origin(out, block, c) + y * out.pitch + column * LANES
                v.store(x, target, v.where_positive(best, best))


@inner
def gate(net, layer, block):
    """As norms.gate; the z of a window is that of its first largest value."""
    x, z, dy = v.address(net.x), layer.z, layer.dy
    for c in range(dy.channels):
        channel = net.channels[layer.norm + c]
        scale, shift, centre = v.splat(channel.scale), v.splat(channel.shift), v.splat(channel.mean)
        first = second = zero()
        for y in range(dy.height):
            for column in range(dy.width):
                best, won = _largest(x, _window(z, origin(z, block, c), y, column), z.pitch, scale, shift)
                at = origin(dy, block, c) + y * dy.pitch + column * LANES
                value = v.where_positive(best, v.load(x, at))
                v.store(x, at, value)
                first, second = first + value, v.fma(value, won - centre, second)
        channel.sums[0] += v.total(first)
        channel.sums[1] += v.total(second)


@inner
def norm_gradient(net, layer, lanes, block):
    """As norms.norm_gradient; the gradient of a window goes to its first largest value."""
    x, z, dz, dy = v.address(net.x), layer.z, layer.dz, layer.dy
    for c in range(z.channels):
        channel = net.channels[layer.norm + c]
        scale, shift = v.splat(channel.scale), v.splat(channel.shift)
        slope, rise, curve = v.splat(channel.slope[0]), v.splat(channel.slope[1]) * lanes, v.splat(channel.slope[2])
        for y in range(dy.height):
            for column in range(dy.width):
                at, rows, columns = _window(z, origin(z, block, c), y, column)
                best, _ = _largest(x, (at, rows, columns), z.pitch, scale, shift)
                left = v.load(x, origin(dy, block, c) + y * dy.pitch + column * LANES)
                target = origin(dz, block, c) + 2 * y * dz.pitch + 2 * column * LANES
                for p in range(rows * columns):
                    down, right = p // columns, p % columns * LANES
                    value = v.load(x, at + down * z.pitch + right)
                    out = v.fma(scale, value, shift)
                    share = v.where_equal(out, best, left, zero())
                    left = v.where_equal(out, best, zero(), left)  # only the first largest gets it
                    gradient = v.fma(slope, share, v.fma(curve, value, rise))
                    v.store(x, target + down * dz.pitch + right, gradient)
