"""Short float32 vectors as values inside numba functions: loads, stores, multiply-adds, sums of lanes.

A vector is LANES floats. Positions count floats from the start of a flat float32 array and are multiples of LANES.
"""

import operator

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

# One vector fills a register: AVX-512 has 32 of 16 floats, what came before it 16 of 8.
LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8

# For functions that only compiled ones call: no entry from Python, which would take long to compile.
inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")

FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


class VectorType(types.Type):
    """The numba type of LANES float32 values."""

    def __init__(self):
        super().__init__(name=f"vector({LANES})")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, VECTOR)


def floats_at(builder, address):
    return builder.inttoptr(address, FLOAT.as_pointer())


def pointer_to(builder, address, position):
    return builder.bitcast(builder.gep(floats_at(builder, address), [position]), VECTOR.as_pointer())


def load_at(builder, pointer):
    value = builder.load(pointer)
    value.align = 4 * LANES
    return value


def store_at(builder, value, pointer):
    builder.store(value, pointer).align = 4 * LANES


def spread(builder, scalar):
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT, LANES), [0] * LANES))


def fuse(builder, a, b, c):
    """a * b + c, in one rounding where the machine has it."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32"), [a, b, c])


@intrinsic
def address(typing, array):
    """Where an array's data begin, an integer: passing arrays from function to function costs time, integers do not."""

    def code(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, LONG)

    return types.int64(array), code


@intrinsic
def integer(typing, x, position):
    """One number of the int64 array at address x."""

    def code(context, builder, signature, args):
        return builder.load(builder.gep(builder.inttoptr(args[0], LONG.as_pointer()), [args[1]]))

    return types.int64(types.int64, types.int64), code


@intrinsic
def load(typing, x, position):
    """The vector at a position of the float32 array at address x."""

    def code(context, builder, signature, args):
        return load_at(builder, pointer_to(builder, *args))

    return vector(types.int64, types.int64), code


@intrinsic
def store(typing, x, position, value):
    """Write a vector to a position of the float32 array at address x."""

    def code(context, builder, signature, args):
        store_at(builder, args[2], pointer_to(builder, *args[:2]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, vector), code


@intrinsic
def splat(typing, scalar):
    """The vector whose lanes all hold one number."""
    return vector(types.float32), lambda context, builder, signature, args: spread(builder, args[0])


@intrinsic
def fma(typing, a, b, c):
    """a * b + c."""
    return vector(vector, vector, vector), lambda context, builder, signature, args: fuse(builder, *args)


@intrinsic
def where_positive(typing, test, value):
    """The lanes of value where test > 0 or is no number, which has to be seen; else 0."""

    def code(context, builder, signature, args):
        keep = builder.fcmp_unordered(">", args[0], ir.Constant(VECTOR, [0.0] * LANES))
        return builder.select(keep, args[1], ir.Constant(VECTOR, [0.0] * LANES))

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
            low, high = (ir.Constant(ir.VectorType(INT, width), [i + k for i in range(width)]) for k in (0, width))
            value = builder.fadd(*(builder.shuffle_vector(value, value, part) for part in (low, high)))
        return builder.extract_element(value, ir.Constant(INT, 0))

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
