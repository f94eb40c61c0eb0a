from edgeopt.core.region import Region
from edgeopt.core.workload import NodeCost


def test_regions_and_costs_are_values() -> None:
    region = Region("/conv", "p", ("conv",), ("Conv",), ("x",), ("y",), (), 10, 4, 8, 8)
    assert region in {Region("/conv", "p", ("conv",), ("Conv",), ("x",), ("y",), (), 10, 4, 8, 8)}
    assert NodeCost("a", "Conv", 1, 2, 3, "int8") != NodeCost("a", "Conv", 1, 2, 3, "float32")
