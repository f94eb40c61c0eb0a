from edgeopt.core.tensor import TensorSpec


def test_an_open_axis_is_shown_as_one() -> None:
    spec = TensorSpec("x", "float32", (None, 3, 224))
    assert not spec.is_static
    assert str(spec) == "x float32[?,3,224]"


def test_a_scalar_is_static() -> None:
    assert TensorSpec("rate", "int64", ()).is_static
