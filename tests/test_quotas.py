"""Integer apportionment: exact totals, surplus in order, nothing lost."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from ticketlib.quotas import allocate, fill, solve_again


class TestQuotas:
    def test_surplus_goes_to_the_next_layers_and_then_back(self):
        assert fill([10, 10, 10], [25, 1, 1]) == [10, 10, 7]
        assert fill([10, 10, 10], [1, 1, 25]) == [10, 7, 10]
        assert fill([10, 10, 10], [5, 12, 3]) == [5, 10, 5]

    def test_a_late_overflow_is_not_lost(self):
        """The paper's loop keeps 170 of these 220, as it stops at the first layer that does not overflow."""
        assert allocate([100] * 3, [20, 50, 150], 220) == [70, 50, 100]

    def test_remainder_by_largest_fraction_ties_by_order(self):
        assert allocate([9, 9, 9], [1, 1, 1], 4) == [2, 1, 1]
        assert allocate([9, 9, 9], [Fraction(5, 4), Fraction(3, 2), Fraction(5, 4)], 4) == [1, 2, 1]

    def test_no_shares_means_by_size(self):
        assert allocate([4, 8], [0, 0], 6) == [2, 4]

    @given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 1000)), min_size=1, max_size=9), st.floats(0, 1))
    def test_allocate_is_exact(self, pairs, part):
        sizes, shares = zip(*pairs, strict=True)
        total = round(part * sum(sizes))
        counts = allocate(list(sizes), list(shares), total)
        assert sum(counts) == total and all(0 <= c <= n for c, n in zip(counts, sizes, strict=True))

    @given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 1000)), min_size=1, max_size=9), st.floats(0.01, 1))
    def test_solve_again_never_overflows(self, pairs, part):
        sizes, shares = zip(*pairs, strict=True)
        total = round(part * sum(sizes))
        solved = solve_again(sizes, shares, total)
        assert sum(solved) == total and all(0 <= c <= n for c, n in zip(solved, sizes, strict=True))
