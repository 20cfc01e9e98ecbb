"""Models that were trained elsewhere in a study: sampled by every sampler and trained by none."""

import json
from pathlib import Path

import pytest
import torch
from contracts import scripts
from contracts.databases import new_store
from contracts.pages import data_of
from running import ONE, client_of, environment, trials_of
from torch import nn

from genae_core.data import sealed
from genae_core.distributions.rng import Draw

pytestmark = pytest.mark.slow

LAB = """
import torch
from torch import nn

import genae_core as genae
from nets import generator


def _net(path, shape):
    net = generator(shape)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def load_gan(path, shape):
    net = _net(path, shape)
    return genae.wrap(net, None, net, latent_dim=2, shape=shape)


def load_autoencoder(path, shape):
    net = _net(path, shape)

    def encode(x):
        return x.flatten(1) @ net[0].weight

    return genae.wrap(net, encode, net, latent_dim=2, shape=shape)
"""
NETS = """
from torch import nn


def generator(shape):
    return nn.Sequential(nn.Linear(2, 64), nn.Sigmoid(), nn.Unflatten(1, shape))
"""


def test_mcmc_steps_samples_models_of_others(tmp_path: Path) -> None:
    new_store(tmp_path)
    (tmp_path / "lab.py").write_text(LAB)
    (tmp_path / "nets.py").write_text(NETS)  # a module beside the loader's, which workers need too
    with Draw(0).as_global():
        net = nn.Sequential(nn.Linear(2, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    flags = ("--smoke", "--seeds", "3", "5", "--record", "0", "2", "--trust", "lab.py")
    flags += ("--samplers", "encode_decode", "metropolis", "--name", "others")
    flags += ("--wrapped", "lab:load_autoencoder", "net.pt", "linear")
    flags += ("--wrapped", "lab:load_gan", "net.pt", "gan")
    done = scripts.run(
        "sweeps/mcmc_steps.py",
        *flags,
        *ONE,
        variables=environment(tmp_path),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "already trained: the models of 2 of 2 trials" in done.stdout
    assert "2 trials, 0 failed; 4 finished runs" in done.stdout

    client = client_of(tmp_path)
    experiment = client.get_experiment_by_name("mcmc_steps")
    assert experiment is not None
    runs = trials_of(client, experiment.experiment_id)
    by_chain = {(run.data.tags["family"], run.data.tags["chain"]): run for run in runs}
    gan, linear = "gan (decoder alone)", "linear (already trained)"
    assert set(by_chain) == {
        (linear, "encode decode, batch BN"),
        (linear, "encode decode, running BN"),
        (gan, "ancestral, batch BN"),
        (gan, "ancestral, running BN"),
    }
    for run in runs:
        assert run.info.status == "FINISHED" and run.data.tags["seed"] == "0"
        assert run.data.tags["training"] == "none" and run.data.params["training"] == "None"
        assert run.data.params["model.sha256"] == sealed.sha256_of(tmp_path / "net.pt")
        assert set(json.loads(run.data.tags["own_code"])) == {run.data.params["model.loader"]}
        assert not any(name.startswith("train/") for name in run.data.metrics)
    # Both begin with the same draws from N(0, I), which the same net decodes.
    starts = [
        run.data.metrics["fcd_step0"]
        for (_, chain), run in by_chain.items()
        if chain.endswith("running BN")
    ]
    assert len(starts) == 2 and starts[0] == starts[1]
    table = (tmp_path / "sweeps" / "others" / "steps.txt").read_text()
    for chain in ("encode decode, batch", "encode decode, running", "metropolis, running"):
        assert f"n/a: {chain} BN: the model has no encoder" in table
    rows = [line.split() for line in table.splitlines() if line.strip().startswith("gan (decoder")]
    assert [row[-1] for row in rows].count("n/a") == 3 and len(rows) == 5
    page = data_of((tmp_path / "sweeps" / "others" / "explorer.html").read_text())
    assert {gan, linear} <= {setting["family"] for setting in page["settings"]}
