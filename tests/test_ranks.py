"""Several processes that share a training give the losses and weights of one, up to rounding.

As a script, ``python test_ranks.py OUT`` is one of the processes, as torchrun would start it.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from prune_lib.nets.reparam import hide
from prune_lib.system import distributed
from prune_lib.system.errors import InputError

RECIPES = {
    "three steps an epoch, the last smaller": tiny.RECIPE,
    "one step an epoch": dataclasses.replace(tiny.RECIPE, batch_size=80, epochs=6, lr=0.1, momentum=0.5),
}


def _train(recipe, state=None):
    history = tiny.fit(tiny.digits(), recipe=recipe, state=state, save_every=0, precision="fp32")
    return [epoch["loss"] for epoch in history.curve], [epoch["test_top1"] for epoch in history.curve], history


def start(script, folder: Path) -> Path:
    """Run ``script FOLDER`` in two processes, as torchrun would, and give the folder back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, str(folder)]
    logs = [folder / f"{r}.log" for r in range(2)]
    processes = []
    for r, path in enumerate(logs):
        with open(path, "w") as log:
            own = {**env, "RANK": str(r), "LOCAL_RANK": str(r)}
            processes.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))
    try:
        codes = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0, 0], [path.read_text()[-1000:] for path in logs]
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What two processes found: ``{name: losses}``, and the folder with their weights."""
    return start(__file__, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_give_the_losses_of_one(pair, name):
    losses, top1, history = _train(RECIPES[name])
    for rank in range(2):
        found = json.loads((pair / f"{name} {rank}.json").read_text())
        torch.testing.assert_close(torch.tensor(found["loss"]), torch.tensor(losses), rtol=0, atol=1e-4)
        torch.testing.assert_close(torch.tensor(found["top1"]), torch.tensor(top1), rtol=0, atol=1.01)
    shared = load_file(pair / f"{name}.safetensors")
    for key, tensor in history.weights["last"].items():
        torch.testing.assert_close(shared[key], tensor, rtol=1e-3, atol=1e-3)


def test_only_the_first_process_writes_the_state(pair):
    assert (pair / "state").exists()
    assert not list(pair.glob("*.new"))


def test_shared_batch_norm_alone_is_batch_norm():
    torch.manual_seed(0)
    ours, theirs, x = distributed.SharedBatchNorm(5), nn.BatchNorm2d(5), torch.randn(4, 5, 3, 3) * 3 + 1
    for norm in (ours, theirs):
        nn.init.uniform_(norm.weight)
        norm.weight.data.copy_(torch.arange(1.0, 6))
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_a_masked_norm_is_shared_with_its_mask():
    """What CDP masks is a parametrized norm, whose weight is no parameter of its own."""
    torch.manual_seed(0)
    kept, x = torch.tensor([True, False, True]), torch.randn(4, 3, 5, 5)
    norms = [nn.BatchNorm2d(3), nn.BatchNorm2d(3)]
    for norm in norms:
        nn.init.constant_(norm.weight, 2.0)
        nn.init.constant_(norm.bias, 1.0)
        hide(norm, kept)
    shared = nn.Sequential(norms[0])
    parameters, names = list(shared.parameters()), list(shared.state_dict())
    distributed._share_norms(shared, distributed.SharedBatchNorm)
    assert isinstance(shared[0], distributed.SharedBatchNorm)
    assert list(shared.state_dict()) == names
    assert all(one is other for one, other in zip(shared.parameters(), parameters, strict=True))
    torch.testing.assert_close(shared(x), norms[1](x))
    assert not shared(x)[:, 1].any()
    hide(shared[0], ~kept)  # the masks are still those of the method
    assert not shared(x)[:, 0].any()


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    recipe = dataclasses.replace(tiny.RECIPE, batch_size=39)  # 80 = 39 + 39 + 2
    with pytest.raises(InputError, match=r"batches of 39 leave a batch of fewer than 3, which .* in 3 processes needs"):
        tiny.fit(tiny.digits(), recipe=recipe)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    for name, recipe in RECIPES.items():
        losses, top1, history = _train(recipe, state=out / "state" if name == "one step an epoch" else None)
        (out / f"{name} {distributed.rank()}.json").write_text(json.dumps({"loss": losses, "top1": top1}))
        if distributed.rank() == 0:
            save_file(history.weights["last"], out / f"{name}.safetensors")
