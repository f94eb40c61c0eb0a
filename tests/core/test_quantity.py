from edgeopt.core.quantity import STRENGTH, Quantity


def test_a_measured_figure_is_printed_alone() -> None:
    assert str(Quantity(17.25, "ms", 17.0, 17.5, "measured", "clock")) == "17.2 ms"


def test_any_other_figure_says_what_it_is_and_how_wrong_it_may_be() -> None:
    assert str(Quantity(20.0, "ms", 15.0, 25.0, "predicted", "roofline")) == "20 ms ±25 % predicted"
    assert str(Quantity(20.0, "ms", 16.0, 24.0, "emulated", "cycles")) == "20 ms ±20 % emulated"


def test_the_error_of_nothing_is_nothing() -> None:
    assert Quantity(0.0, "mJ", 0.0, 1.0, "measured", "meter").relative_error == 0.0


def test_measuring_is_stronger_than_emulating_than_predicting() -> None:
    assert STRENGTH["measured"] > STRENGTH["emulated"] > STRENGTH["predicted"]
