"""HRank: the rank of a feature map, which filters it keeps, and the figures of its two repositories."""

import numpy as np
import pytest
import torch

from prune_lib.cost import check
from prune_lib.nets import ARCHS, build, read_spec
from prune_lib.papers import hrank
from prune_lib.papers.method import Start
from prune_lib.papers.rows import get_row
from prune_lib.system.errors import InputError
from prune_lib.tasks import load

EXACT = {  # row -> params and FLOPs; those of masks by get_flops.py of lmbxmu/HRank, c91ec91, read and worked out again
    "hrank/cifar10/vgg16": (2_923_064, 109_090_314),
    "hrank/cifar10/resnet56": (489_359, 62_715_530),
    "hrank/cifar10/resnet110": (1_054_847, 156_884_618),
    "hrank/cifar10/densenet40": (664_630, 167_410_906),
    "hrank/cifar10/googlenet": (1_858_262, 450_061_322),
    "hrank/imagenet/resnet50": (13_773_764, 1_549_652_456),
    "hrank/cifar10-plus/vgg16_131m": (2_766_541, 131_173_888),
    "hrank/cifar10-plus/vgg16_104m": (2_505_793, 104_781_568),
    "hrank/cifar10-plus/vgg16_66m": (1_901_836, 66_950_272),
    "hrank/cifar10-plus/resnet56_90m": (660_157, 90_349_760),
    "hrank/cifar10-plus/resnet56_65m": (485_413, 65_940_032),
    "hrank/cifar10-plus/resnet56_34m": (240_793, 34_785_920),
    "hrank/cifar10-plus/resnet110_140m": (1_045_951, 140_547_584),
    "hrank/cifar10-plus/resnet110_101m": (719_746, 101_975_744),
    "hrank/cifar10-plus/resnet110_71m": (543_742, 71_693_120),
    "hrank/cifar10-plus/googlenet_649m": (2_857_760, 649_193_408),
    "hrank/cifar10-plus/googlenet_395m": (2_099_266, 395_421_760),
    "hrank/cifar10-plus/densenet40_173m": (622_924, 173_387_892),
    "hrank/cifar10-plus/densenet40_133m": (451_882, 133_168_509),
    "hrank/cifar10-plus/densenet40_113m": (395_908, 113_082_204),
    "hrank/imagenet-plus/step_2.26b": (15_091_575, 2_259_031_992),
    "hrank/imagenet-plus/step_1.52b": (11_047_336, 1_523_060_224),
    "hrank/imagenet-plus/step_0.95b": (8_017_755, 954_965_592),
    "hrank/imagenet-plus/cos_1.52b": (11_047_336, 1_523_060_224),
}
DIFFER = {  # rows whose printed counts do not follow from what they print beside them, and those counts
    "hrank/cifar10/vgg16": ["flops", "flops_cut", "params", "params_cut"],
    "hrank/cifar10/resnet110": ["flops", "flops_cut", "params"],
    "hrank/cifar10/densenet40": ["params_cut"],
    "hrank/cifar10-plus/vgg16_base": ["flops", "params"],
    "hrank/cifar10-plus/vgg16_131m": ["flops_cut", "params", "params_cut"],
    "hrank/cifar10-plus/vgg16_104m": ["flops_cut", "params"],
    "hrank/cifar10-plus/vgg16_66m": ["flops_cut"],
    "hrank/cifar10-plus/resnet56_base": ["flops"],
    "hrank/cifar10-plus/resnet56_90m": ["flops_cut", "params_cut"],
    "hrank/cifar10-plus/resnet56_65m": ["flops_cut", "params", "params_cut"],
    "hrank/cifar10-plus/resnet56_34m": ["flops", "flops_cut", "params_cut"],
    "hrank/cifar10-plus/resnet110_base": ["flops", "params"],
    "hrank/cifar10-plus/resnet110_140m": ["flops", "flops_cut", "params", "params_cut"],
    "hrank/cifar10-plus/resnet110_101m": ["flops", "flops_cut", "params_cut"],
    "hrank/cifar10-plus/resnet110_71m": ["flops_cut", "params_cut"],
    "hrank/cifar10-plus/googlenet_base": ["flops", "params"],
    "hrank/cifar10-plus/googlenet_649m": ["flops_cut", "params", "params_cut"],
    "hrank/cifar10-plus/googlenet_395m": ["flops_cut", "params", "params_cut"],
    "hrank/cifar10-plus/densenet40_base": ["flops", "params"],
    "hrank/cifar10-plus/densenet40_173m": ["flops_cut", "params_cut"],
    "hrank/cifar10-plus/densenet40_133m": ["flops_cut", "params_cut"],
    "hrank/cifar10-plus/densenet40_113m": ["flops_cut", "params", "params_cut"],
    "hrank/imagenet-plus/resnet50_base": ["params"],
    "hrank/imagenet-plus/step_2.26b": ["flops_cut", "params_cut"],
    "hrank/imagenet-plus/step_1.52b": ["flops_cut", "params_cut"],
    "hrank/imagenet-plus/step_0.95b": ["flops_cut"],
    "hrank/imagenet-plus/cos_1.52b": ["flops_cut", "params_cut"],
    "hrank/imagenet-plus/cos_1.38b": ["flops_cut", "params_cut"],
    "hrank/imagenet-plus/cos_1.02b": ["flops_cut"],
}
CLAIMS = {"148.70M(41.2%)": ("not 148.70M but 156,884,618", "not 41.2% but 37.96%")}


def _maps():
    """Two images, three filters: one of rank 0 and 1, one of rank 2, one of full rank."""
    maps = torch.zeros(2, 3, 4, 4)
    maps[1, 0] = torch.outer(torch.tensor([1.0, 2, 0, 1]), torch.tensor([0.0, 1, 3, 1]))
    maps[:, 1, 0, 0] = maps[:, 1, 2, 3] = 1
    maps[:, 2] = torch.eye(4)
    return maps


def test_the_rank_of_maps_worked_by_hand():
    assert hrank.ranks(_maps()).tolist() == [[0, 2, 4], [1, 2, 4]]
    assert hrank.importance(_maps()).tolist() == [0.5, 2, 4]


def test_ranks_are_numpys():
    rng = np.random.default_rng(0)
    maps = np.maximum(rng.normal(size=(3, 4, 8, 8)), 0).astype(np.float32)
    maps[:, 1] = maps[:, 1] * (rng.random((3, 8, 1)) < 0.4)  # rows that are zero
    expected = np.linalg.matrix_rank(maps)
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(hrank.ranks(torch.from_numpy(maps)), expected)


def _begun(net, variant="corrected", images=4):
    torch.manual_seed(1)
    dense = build(net).eval()
    method = hrank.HRank(ARCHS[net], variant=variant, images=images)
    method.begin(Start(dense, load("digits", heldout=20, train_images=80), 0, "fp32", None))
    return method


def test_filters_whose_maps_are_zero_go_first():
    torch.manual_seed(0)
    dense = build("resnet20").eval()
    dead = [1, 4, 5]
    dense.layer2[1].bn1.weight.data[dead] = 0
    dense.layer2[1].bn1.bias.data.fill_(1)
    dense.layer2[1].bn1.bias.data[dead] = -1  # its ReLU then gives nothing
    method = hrank.HRank(ARCHS["resnet20"], variant="corrected", images=4)
    method.begin(Start(dense, load("digits", heldout=20, train_images=80), 0, "fp32", None))
    assert method.chosen["layer2.1.conv1"].topk(3, largest=False).indices.sort().values.tolist() == dead
    widths = {**ARCHS["resnet20"].filters, "layer2.1.conv1": 29}
    kept = [n for n in range(32) if n not in dead]
    pruned = method.prepare(build("resnet20", widths))
    torch.testing.assert_close(pruned.layer2[1].conv1.weight, dense.layer2[1].conv1.weight[kept])


@pytest.mark.parametrize("net", ["vgg16_hrank", "densenet40"])
def test_a_net_is_scored_by_what_its_relus_give(net):
    """In a DenseNet the next layer rectifies a conv's maps, which are the last channels that it reads."""
    method = _begun(net, images=2)
    assert {conv: len(scores) for conv, scores in method.chosen.items()} == ARCHS[net].filters
    assert all((scores >= 0).all() and (scores <= 32).all() for scores in method.chosen.values())
    places = method.places()
    if net == "densenet40":
        assert places["conv1"][0] == "dense1.0.relu"
        assert places["dense1.11.conv"] == ("trans1.relu", slice(-12, None))
        assert places["trans1.conv"] == ("dense2.0.relu", slice(-168, None))
        assert places["dense3.11.conv"][0] == "relu"
    widths = read_spec(net, "[0.3]*12" if net == "vgg16_hrank" else "[0.]+[0.3]*38", "hrank")[1]
    assert method.prepare(build(net, widths)).eval()(torch.randn(1, 3, 32, 32)).isfinite().all()


def test_the_printed_108m_and_its_cut_of_params_are_of_filters_rounded_down_with_inputs_in_full():
    """The row's FLOPs are not what the published code counts, and its 82.1% goes with 2.69M, not with the 2.64M."""
    rates = get_row("hrank/cifar10/vgg16").rates
    found = check("108.61M", "vgg16_hrank", rates, layout="units")
    assert found.figure.prints[0].way.value == 108_612_608
    for params, agrees in (("2.69M params", True), ("2.64M params", False)):
        assert check(params, "vgg16_hrank", rates, layout="units", base="14.98M params", cut="82.1%").agree is agrees
    assert check("313.73M", "vgg16_hrank").figure.prints[0].way.changes == ("2 per MAC of linear layers",)


def test_a_transition_keeps_its_share_of_what_it_reads():
    widths = read_spec("densenet40", "[0.]+[0.3]*12+[0.1]+[0.3]*12+[0.1]+[0.3]*12", "hrank")[1]
    assert widths["dense1.0.conv"] == 8  # int(12 x 0.7)
    assert widths["trans1.conv"] == int((24 + 12 * 8) * 0.9)
    assert widths["trans2.conv"] == int((widths["trans1.conv"] + 12 * 8) * 0.9)


def test_options_that_are_not_there_are_named():
    with pytest.raises(InputError, match="unknown HRank variant 'mine'; expected one of: authors corrected"):
        hrank.HRank(ARCHS["resnet20"], variant="mine")
    with pytest.raises(InputError, match="HRank: unknown criterion 'cfdp2'; expected one of: hrank scratch random"):
        hrank.HRank(ARCHS["resnet20"], criterion="cfdp2")
    with pytest.raises(InputError, match="HRank: images is 0; expected at least 1"):
        hrank.HRank(ARCHS["resnet20"], images=0)
