"""Contract suites: the tests that your own family, prior, sampler or divergence must pass.

A suite is a class of pytest tests. It needs genae and pytest and nothing else. Derive a class from
it in a test file of your own, and set the attributes that its docstring lists:

    # test_my_family.py; run it with: python -m pytest test_my_family.py
    from my_family import MyConfig  # defined with @register("my_family")
    from genae_core.testing import ModelContract

    class TestMyFamily(ModelContract):
        config = MyConfig(latent_dim=3, noise=0.2)  # a small one, which trains in a second
        shape = (1, 8, 8)
        noise = 0.2

* `ModelContract` takes the `config` of a family: shapes, corruption, pure losses, training,
  checkpoints, chains.
* `PriorContract` takes the `config` of a prior: its density, samples and KL divergence agree.
* `SamplerContract` takes a `sampler`: pure steps, seeds, sub-batches, an unchanged model.
* `DivergenceContract` takes a fixture `divergence`: pure losses that move codes to a target.

Three modules have tools for tests: `toys` a small autoencoder and images, `tiny` a whole trial
that takes a second, and `replays` a stand-in for CUDA graphs on a CPU.
"""

import lazy_loader
import pytest

# After this call, a plain assert in these modules reports the values that it compares.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in ("divergence", "model", "model_helpers", "prior", "sampler")
    )
)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
