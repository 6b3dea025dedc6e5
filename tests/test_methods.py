"""The contract of every method: it trains, and exports a plain network with the outputs of the one it trained."""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file

from prune_lib.nets import ARCHS, build, load_network, read_spec
from prune_lib.papers import METHODS, make_method
from prune_lib.papers.method import Start
from prune_lib.papers.methods import CHOOSES_WIDTHS, FROM_FRESH, PRUNES_TRAINED
from prune_lib.papers.recipe import Recipe
from prune_lib.runs.training import train
from prune_lib.system.errors import InputError
from prune_lib.tasks import load

SPEC = "[0.8]*9+[0.5]*3"


OPTIONS = {
    "cdp": {"sparsity": 0.5, "images": 80},
    "cfdp": {"variant": "corrected", "images": 80},
    "criterion": {"criterion": "l1", "images": 80},
    "filterexpo": {"sparsity": 0.5},
}


def test_what_is_listed_of_methods_is_what_they_are():
    made = {name: make_method(name, ARCHS["resnet20"], **OPTIONS.get(name, {})) for name in METHODS}
    assert {name for name, method in made.items() if method.prunes_trained} == set(PRUNES_TRAINED)
    assert set(FROM_FRESH) < set(METHODS) - set(PRUNES_TRAINED)
    assert set(CHOOSES_WIDTHS) < set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_exports_what_it_trained(name, shaken, tmp_path):
    recipe = Recipe(data="digits", epochs=3, batch_size=40, lr=0.05, heldout=20, train_images=80)
    data, arch = load("digits", heldout=20, train_images=80), ARCHS["resnet20"]
    widths = read_spec("resnet20", SPEC)[1]
    method = make_method(name, arch, **OPTIONS.get(name, {}))
    torch.manual_seed(0)
    begun: dict = {}
    if method.prunes_trained:
        begun = method.begin(Start(shaken(build("resnet20")), data, 0, "fp32", tmp_path))
        widths = begun.get("widths", widths)
    model = build("resnet20", None if name in CHOOSES_WIDTHS else widths)
    history = train(model, data, recipe, method, device="cpu", progress=False)
    chosen = begun | method.found()
    assert ("widths" in chosen) == (name in CHOOSES_WIDTHS)
    widths = chosen.get("widths", widths)
    assert history.curve[-1]["loss"] < history.curve[0]["loss"]
    assert bool(history.before) == method.prunes_trained
    images = torch.randn(2, 3, 32, 32)
    shaken(model)
    exported = method.export(model).eval()
    with torch.no_grad():  # in float64, in which the two differ by nothing that rounding explains
        expected = model.double()(images.double())
        torch.testing.assert_close(copy.deepcopy(exported).double()(images.double()), expected, rtol=1e-6, atol=1e-6)
    assert {n: m.out_channels for n, m in exported.named_modules() if isinstance(m, torch.nn.Conv2d)} == widths
    path = tmp_path / "x.safetensors"
    weights = {n: tensor.contiguous() for n, tensor in exported.state_dict().items()}
    save_file(weights, path, metadata={"arch": "resnet20", "widths": json.dumps(widths)})
    with torch.no_grad():
        torch.testing.assert_close(load_network(path)(images), exported(images))


def test_a_method_or_option_that_is_not_there_is_named():
    with pytest.raises(InputError, match="unknown method 'x'; expected one of: dense dcff"):
        make_method("x", ARCHS["vgg16"])
    with pytest.raises(InputError, match="method dcff"):
        make_method("dcff", ARCHS["vgg16"], speed=3)
