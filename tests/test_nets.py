import json

import pytest
import torch
from safetensors.torch import save_file

from prune_lib.nets import ARCHS, build, load_network, read_spec
from prune_lib.nets.resnet_cifar import Block
from prune_lib.papers.rows import get_row
from prune_lib.system.errors import InputError

PARAMS = {
    "vgg16": (1_071_248, 14_728_266),
    "resnet56": (384_316, 853_018),
    "resnet110": (555_368, 1_727_962),
    "googlenet": (2_079_250, 6_166_250),
}


@pytest.mark.parametrize("arch", PARAMS)
def test_full_and_compact_have_the_known_parameters(arch):
    compact = build(arch, get_row(f"dcff/cifar10/{arch}").widths)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (compact, build(arch))]
    assert tuple(sizes) == PARAMS[arch]
    assert compact.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


IMAGENET = {
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "mobilenet_v2": 3_504_872,
}  # fmt: skip


@pytest.mark.parametrize("arch", ARCHS)
def test_the_full_network_has_the_convs_its_arch_names(arch):
    model = build(arch, num_classes=7)
    convs = {name: m.out_channels for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)}
    if ARCHS[arch].backbone:  # heads for other tasks have convs that are not pruned
        convs = {name: filters for name, filters in convs.items() if name.startswith("backbone.")}
    else:
        model.get_submodule(ARCHS[arch].cam_layer)
    assert convs == ARCHS[arch].filters
    assert list(convs) == list(ARCHS[arch].filters)
    assert ARCHS[arch].scored(len(model.get_submodule(ARCHS[arch].head).weight)) == 7


@pytest.mark.parametrize("arch", IMAGENET)
def test_imagenet_networks_are_torchvisions(arch):
    """Same parameters in the same order; the same outputs for the same weights, whatever the modules are called."""
    import torchvision

    torch.manual_seed(0)
    ours, theirs = build(arch).eval(), getattr(torchvision.models, arch)(weights=None).eval()
    assert sum(p.numel() for p in ours.parameters()) == IMAGENET[arch]
    weights = theirs.state_dict()
    ours.load_state_dict(dict(zip(ours.state_dict(), weights.values(), strict=True)))
    if arch.startswith("resnet"):
        assert list(ours.state_dict()) == list(weights)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnet50_v1c", "mobilenet_v2", "vgg16_cdp", "vgg16_hrank"])
def test_compact_networks_run_at_any_unit_widths(arch):
    spec = [f"{(i % 7) / 10 + 0.2:.1f}" for i in range(len(ARCHS[arch].units))]
    widths = read_spec(arch, f"[{','.join(spec)}]", "units")[1]
    assert build(arch, widths, 10).eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "mobilenet_v2"])
def test_units_are_no_larger_than_they_must_be(arch):
    """Halving one conv of a unit alone is refused; the whole unit may be halved."""
    filters = ARCHS[arch].filters
    for convs in ARCHS[arch].units.values():
        build(arch, {conv: filters[conv] // 2 for conv in convs}, 10)
        if len(convs) > 1:
            with pytest.raises(InputError, match="one channel unit"):
                build(arch, {convs[0]: filters[convs[0]] // 2}, 10)


@pytest.mark.parametrize(
    ("channels", "outer", "stride", "pads"),
    [(4, 8, 2, (2, 2)), (3, 8, 1, (2, 3)), (8, 4, 2, (-2, -2)), (8, 5, 1, (-2, -1)), (4, 4, 2, (0, 0))],
)
def test_the_shortcut_pads_with_zeros_or_crops(channels, outer, stride, pads):
    block = Block(channels, 2, outer, stride)
    assert block.pad == pads
    x = torch.randn(2, channels, 6, 6)
    got, thin = block.shortcut(x), x[:, :, ::stride, ::stride]
    before = pads[0]
    for channel in range(outer):
        source = channel - before
        expected = thin[:, source] if 0 <= source < channels else torch.zeros_like(thin[:, 0])
        assert torch.equal(got[:, channel], expected)


def test_resnets_may_widen_and_narrow_anywhere():
    widths = {"conv1": 5, "layer1.0.conv2": 3, "layer2.1.conv2": 30, "layer3.2.conv2": 11}
    assert build("resnet20", widths).eval()(torch.randn(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("widths", "words"),
    [({"conv14": 3}, "no conv called 'conv14'"), ({"conv1": 0}, "width 0"), ({"conv1": 65}, "width 65")],
)
def test_widths_that_the_network_cannot_have_are_refused(widths, words):
    with pytest.raises(InputError, match=words):
        build("vgg16", widths)


@pytest.mark.parametrize("width", ["3", 2.5, None, -1])
def test_a_width_is_a_whole_number(width):
    with pytest.raises(InputError, match="expected a whole number in 1 … 16"):
        build("resnet56", {"layer1.0.conv1": width})


@pytest.mark.parametrize("name", ["vgg19", "", "VGG16", "resnet_cifar:ResNet"])
def test_an_unknown_network_is_named(name):
    with pytest.raises(InputError, match=f"unknown architecture '{name}'; expected one of: vgg16 vgg16_hrank"):
        build(name)


def test_resnets_take_the_names_of_the_published_weights():
    """Those of akamaster/pytorch_resnet_cifar10, whose shortcut has none."""
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["conv1.weight", *(f"bn1.{part}" for part in parts)]
    for block in (f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(9)):
        for n in (1, 2):
            names += [f"{block}.conv{n}.weight", *(f"{block}.bn{n}.{part}" for part in parts)]
    assert list(build("resnet56").state_dict()) == [*names, "linear.weight", "linear.bias"]


def test_a_compact_network_describes_itself(tmp_path):
    widths, path = get_row("dcff/cifar10/resnet56").widths, tmp_path / "x.safetensors"
    model, images = build("resnet56", widths).eval(), torch.randn(2, 3, 32, 32)
    save_file(model.state_dict(), path, metadata={"arch": "resnet56", "widths": json.dumps(widths)})
    with torch.no_grad():
        assert torch.equal(load_network(path)(images), model(images))
    save_file(model.state_dict(), path, metadata={"arch": "resnet56", "widths": "{}"})
    with pytest.raises(InputError, match="not a compact network") as refusal:
        load_network(path)
    assert str(path) in str(refusal.value)


def test_a_file_that_is_no_compact_network_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not a network")
    with pytest.raises(InputError, match="not a compact network"):
        load_network(path)


@pytest.mark.parametrize(
    ("arch", "layer", "std"),
    [
        ("resnet50", "conv1", 0.02525),  # sqrt(2 / (64 * 49)), fan-out; by fan-in it would be 0.117
        ("resnet50", "layer2.1.conv1", 0.125),  # sqrt(2 / 128); by fan-in 0.0625
        ("resnet18", "layer2.1.conv1", (2 / (128 * 9)) ** 0.5),
        ("resnet56", "layer2.1.conv1", (2 / (32 * 9)) ** 0.5),  # fan-in and fan-out are the same
        ("resnet56", "layer2.0.conv1", (2 / (16 * 9)) ** 0.5),  # and here they are not
        ("resnet56", "linear", (2 / 64) ** 0.5),  # PyTorch's own would be 1 / sqrt(3 * 64)
        ("resnet110", "linear", (2 / 64) ** 0.5),
        ("resnet20", "linear", (2 / 64) ** 0.5),
        ("mobilenet_v2", "features.0.0", (2 / (32 * 9)) ** 0.5),
        ("mobilenet_v2", "features.18.0", (2 / 1280) ** 0.5),
        ("mobilenet_v2", "classifier", 0.01),
    ],
)
def test_first_weights_have_the_published_deviation(arch, layer, std):
    """To within five standard errors of the deviation of so many normal numbers."""
    torch.manual_seed(0)
    model = build(arch)
    names = dict(model.named_modules())
    weight = names[layer].weight.detach()
    assert weight.std().item() == pytest.approx(std, rel=5 / (2 * weight.numel()) ** 0.5)
    assert abs(weight.mean().item()) < 5 * std / weight.numel() ** 0.5
