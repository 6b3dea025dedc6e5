"""The contract of every method: it trains, and exports a plain network with the outputs of the one it trained."""

import pytest
import torch

from prune_lib.errors import InputError
from prune_lib.nets import ARCHS, build, read_spec
from prune_lib.papers import METHODS, make_method
from prune_lib.recipe import Recipe
from prune_lib.tasks.images import load
from prune_lib.train import train

SPEC = "[0.8]*9+[0.5]*3"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_exports_what_it_trained(name, shaken):
    recipe = Recipe(data="digits", epochs=3, batch_size=40, lr=0.05, heldout=20, train_images=80)
    data = load("digits", heldout=20, train_images=80)
    widths = read_spec("resnet20", SPEC)[1]
    method = make_method(name, ARCHS["resnet20"])
    torch.manual_seed(0)
    model = build("resnet20", widths)
    history = train(model, data, recipe, method, device="cpu", progress=False)
    assert history.curve[-1]["loss"] < history.curve[0]["loss"]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = shaken(model)(images)
        exported = method.export(model).eval()
        torch.testing.assert_close(exported(images), expected, rtol=1e-5, atol=1e-5)
    assert {n: m.out_channels for n, m in exported.named_modules() if isinstance(m, torch.nn.Conv2d)} == widths
    build("resnet20", widths).load_state_dict(exported.state_dict())


def test_a_method_or_option_that_is_not_there_is_named():
    with pytest.raises(InputError, match="unknown method 'x'; expected one of: dense dcff"):
        make_method("x", ARCHS["vgg16"])
    with pytest.raises(InputError, match="method dcff"):
        make_method("dcff", ARCHS["vgg16"], speed=3)
