"""Names, numbers and signs in words."""

from ticketlib.analysis import words


def test_names_are_those_of_the_field():
    assert words.title("vgg16 on cifar100") == "slim VGG-16, CIFAR-100" and words.title("mine") == "mine"


def test_a_difference_has_a_sign_unless_it_rounds_to_nothing():
    assert [words.signed(x) for x in (0.117, -0.676, -0.004, 0.0)] == ["+0.12", "−0.68", "0.00", "0.00"]
    assert words.decimal(-1.25, 1) == "−1.2" and words.decimal(3) == "3.00"


def test_a_span_of_numbers_written_alike_is_one_number():
    assert words.span([3, 1, 2], 0) == "1 to 3" and words.span([0.101, 0.099]) == "0.10"
    assert words.span([-1.0, 2.0], 1, words.signed) == "−1.0 to +2.0"


def test_one_point_has_no_s():
    assert words.points(1.0) == "1 point" and words.points(0.5) == "0.5 points"
