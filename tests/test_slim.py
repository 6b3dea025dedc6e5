"""A masked network and the smaller one that ``slim`` makes of it give the same outputs, for every net."""

import pytest
import torch

from prune_lib.nets import ARCHS, build, load_network
from prune_lib.nets.slim import complete, kept_by_unit, mask, slim, slim_widths
from prune_lib.papers import baselines
from prune_lib.system.errors import InputError

SMALL = {"faster_rcnn", "mask_rcnn"}  # large, and the pose network's backbone is theirs


def _keep(arch, seed=0, share=0.4):
    """A random mask for each conv; a depthwise conv has that of the conv which it reads."""
    generator, keep = torch.Generator().manual_seed(seed), {}
    for convs in arch.units.values():
        for conv in convs:
            kept = torch.rand(arch.filters[conv], generator=generator) < share
            kept[int(torch.randint(len(kept), (1,), generator=generator))] = True
            keep[conv] = keep[convs[0]] if conv.endswith("depthwise") else kept
    return keep


@pytest.fixture
def masked(shaken):
    def make(name, seed=0):
        torch.manual_seed(seed)
        arch = ARCHS[name]
        keep = _keep(arch, seed)
        return mask(shaken(build(name, num_classes=10)), arch, keep), arch, keep

    return make


@pytest.mark.parametrize("name", [name for name in ARCHS if name not in SMALL])
def test_masked_and_slim_agree(name, masked):
    model, arch, keep = masked(name)
    compact = slim(model, arch, keep)  # it compares the two itself, and refuses if they differ
    convs = {n: m.out_channels for n, m in compact.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert {conv: convs[conv] for conv in arch.filters} == slim_widths(arch, keep)
    assert sum(p.numel() for p in compact.parameters()) < sum(p.numel() for p in model.parameters())
    images = torch.randn(2, *arch.image) if arch.image[1] == 32 or name.startswith("ssd") else torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        assert (compact(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_slim_cifar_resnet_is_saved_with_its_shortcuts(masked, tmp_path):
    import json

    from safetensors.torch import save_file

    model, arch, keep = masked("resnet20", seed=4)
    compact, path = slim(model, arch, keep), tmp_path / "x.safetensors"
    assert compact.layer2[0].source is not None
    about = {"arch": "resnet20", "widths": json.dumps(slim_widths(arch, keep))}
    save_file(compact.state_dict(), path, metadata=about)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_network(path)(images), compact(images))


def test_channels_that_are_added_stay_while_any_conv_keeps_them():
    arch = ARCHS["resnet20"]
    keep = {"conv1": torch.zeros(16, dtype=torch.bool), "layer1.0.conv2": torch.zeros(16, dtype=torch.bool)}
    keep |= {f"layer1.{i}.conv2": torch.zeros(16, dtype=torch.bool) for i in (1, 2)}
    for i, conv in enumerate(keep):
        keep[conv][2 * i] = True
    assert kept_by_unit(arch, keep)["conv1"].nonzero().flatten().tolist() == [0, 2, 4, 6]
    assert complete(arch, keep)["layer2.0.conv1"].all()


def test_a_mask_without_its_norms_cannot_be_made_smaller(shaken):
    arch = ARCHS["vgg16"]
    keep = _keep(arch)
    model = mask(shaken(build("vgg16")), arch, keep, norms=False)
    with pytest.raises(InputError, match=r"differs from the masked one by .*are the norms masked too"):
        slim(model, arch, keep)


def test_masked_filters_are_zero_and_learn_nothing(masked):
    model, _, keep = masked("resnet20")
    model.train()(torch.randn(4, 3, 32, 32)).sum().backward()
    for conv, kept in keep.items():
        layer = model.get_submodule(conv)
        assert layer.weight[~kept].abs().sum() == 0
        assert layer.parametrizations.weight.original.grad[~kept].abs().sum() == 0
        assert layer.parametrizations.weight.original.grad[kept].abs().sum() > 0


def test_a_second_mask_replaces_the_first(masked):
    model, arch, keep = masked("resnet20")
    other = _keep(arch, seed=5)
    mask(model, arch, other)
    assert model.conv1.weight[other["conv1"]].abs().sum() > 0
    assert model.conv1.weight[~other["conv1"]].abs().sum() == 0
    slim(model, arch, other)
    assert keep["conv1"].tolist() != other["conv1"].tolist()


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ({"conv9": torch.ones(16, dtype=torch.bool)}, "resnet20 has no conv called 'conv9'"),
        ({"conv1": torch.ones(15, dtype=torch.bool)}, r"conv1: a mask of torch.bool \(15,\); expected 16 booleans"),
        ({"conv1": torch.ones(16)}, r"conv1: a mask of torch.float32 \(16,\); expected 16 booleans"),
        ({"conv1": torch.zeros(16, dtype=torch.bool)}, "conv1 would lose all its 16 filters"),
    ],
)
def test_masks_that_do_not_fit_are_named(keep, words):
    with pytest.raises(InputError, match=words):
        mask(build("resnet20"), ARCHS["resnet20"], keep)


def test_of_equal_scores_the_first_filters_stay():
    scores = {"conv": torch.tensor([0.0, 2.0] + [0.0] * 98)}
    assert baselines.best(scores, {"conv": 40})["conv"].nonzero().flatten().tolist() == [*range(40)]
