"""Every file in search/samplers behaves as a sampler must."""

from __future__ import annotations

import pytest

from edgeopt.core import plugins
from edgeopt.testing import samplers


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_conformance(name):
    samplers.check(plugins.load("samplers", name))


def test_the_suite_notices_a_sampler_that_draws_from_the_process(monkeypatch):
    from optuna.samplers import RandomSampler

    module = plugins.load("samplers", "random")
    monkeypatch.setattr(module, "create", lambda context: RandomSampler(seed=context.seed))
    with pytest.raises(AssertionError, match="resume"):
        samplers.check(module)
