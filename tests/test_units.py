import json

import pytest
import yaml

from prune_lib.nets import ARCHS, read_spec
from prune_lib.nets.units import read_units, to_yaml, units
from prune_lib.papers.rows import get_row
from prune_lib.system.errors import InputError


@pytest.mark.parametrize("arch", ARCHS)
def test_the_file_says_what_the_network_has_and_changes_nothing_unedited(arch, tmp_path):
    assert yaml.safe_load(to_yaml(arch)) == units(arch)
    path = tmp_path / "units.yaml"
    path.write_text(to_yaml(arch))
    assert read_units(path, arch) == ARCHS[arch].filters
    path = tmp_path / "units.json"
    path.write_text(json.dumps(units(arch)))
    assert read_units(path, arch) == ARCHS[arch].filters


def test_kept_shares_are_mmrazors(tmp_path):
    """Its published classification config in shares to keep gives the widths of its printed rates."""
    listed = units("resnet50")
    for name, unit in listed["units"].items():
        stage, block, conv = int(name[5]) if name[0] == "l" else 0, int(name[7]) if name[0] == "l" else 0, name[-5:]
        first = stage in (1, 2) or (stage == 3 and block < 3)
        inner = {"conv1": 0.65, "conv2": 0.6} if first else {"conv1": 0.7, "conv2": 0.7}
        unit["keep"] = 1.0 if stage == 0 else inner.get(conv, 0.9)
    path = tmp_path / "units.json"
    path.write_text(json.dumps(listed))
    expected = read_spec("resnet50", "[0.0]+[0.35,0.4,0.1]*10+[0.3,0.3,0.1]*6", "mmrazor")[1]
    assert read_units(path, "resnet50") == expected


MISTAKES = {
    "expected of resnet20": ("arch: resnet20", "arch: resnet56"),
    "no unit 'x'": ("  layer1.0.conv1:", "  x:"),
    "keep is 17": ("keep: 16", "keep: 17"),
    "keep is 0;": ("keep: 16", "keep: 0"),
    "keep is -1": ("keep: 16", "keep: -1"),
    "keep is 1.5": ("keep: 16", "keep: 1.5"),
    "keep is True": ("keep: 16", "keep: true"),
    "keep is '3'": ("keep: 16", "keep: '3'"),
    "keep is 0.01": ("keep: 16", "keep: 0.01"),
    "only 'keep' may be edited": ("convs: [layer1.0.conv1]", "convs: [conv1]"),
    "expected a mapping with channels keep convs": ("keep: 16", "kept: 16"),
    "not a readable file": ("units:", "units: ["),
    "no units in it": ("units:", "unit:"),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_named(words, tmp_path):
    path = tmp_path / "units.yaml"
    path.write_text(to_yaml("resnet20").replace(*MISTAKES[words], 1))
    with pytest.raises(InputError) as refusal:
        read_units(path, "resnet20")
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_row_can_be_trained_at_widths_of_ones_own():
    row = get_row("dcff/cifar10/vgg16")
    own = row.with_widths({"conv1": 3})
    assert own.widths == {**ARCHS["vgg16"].filters, "conv1": 3}
    assert own.id.startswith("own/")
    assert own.id != row.with_widths({"conv1": 4}).id
    assert own.key("short") != row.key("short")
    assert own.pruned
    assert not own.reported
