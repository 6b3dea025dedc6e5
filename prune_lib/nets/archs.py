"""What an architecture is before any tensor exists: its convs, their full widths, and how rate lists map to them.

A *unit* is a group of convs that keep the same number of filters, since their outputs are added, or since one reads
the other channel by channel. A *layout* says which convs each entry of a paper's list governs. Both are plain data.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..spec import Layout

Groups = tuple[tuple[str, ...], ...]
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # blocks of the ImageNet ResNets


@dataclass(frozen=True)
class Arch:
    name: str
    cls: str  # "module:Class" in this package
    filters: dict[str, int]  # conv name -> filters of the full network, in module order
    units: dict[str, tuple[str, ...]] = field(repr=False)  # unit -> its convs; together they are all convs
    layouts: dict[str, Layout] = field(repr=False)  # whose list -> its layout; the first is the default
    options: Mapping[str, object] = field(default_factory=dict)  # the class's other arguments
    image: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    head: str = "linear"  # the last linear layer
    cam_layer: str = ""  # the module whose output Grad-CAM weighs: the last with maps of 4x4 pixels or more
    pads: bool = False  # its shortcuts pad or crop, so the convs of a unit may differ after all

    @property
    def plain(self) -> tuple[str, ...]:
        """The convs that DCFF's code leaves unfused: those of shortcuts, and those that see one channel each."""
        return tuple(c for c in self.filters if "downsample" in c or c.endswith(".depthwise"))


def _arch(name: str, cls: str, filters: dict, tied: Groups, layouts: dict[str, Layout], **others) -> Arch:
    """An arch whose units are the groups ``tied``, and every other conv by itself, in the order of the convs."""
    group = {conv: convs for convs in tied for conv in convs}
    units: dict[str, tuple[str, ...]] = {}
    for conv in filters:
        convs = group.get(conv, (conv,))
        units.setdefault(convs[0], convs)
    default = next(iter(layouts.values()))
    layouts = {**layouts, "units": replace(default, groups=tuple(units.values()), rounding="rate")}
    return Arch(name, cls, filters, units, layouts, **others)


def _each(filters: dict[str, int]) -> Groups:
    return tuple((conv,) for conv in filters)


def vgg(name: str) -> Arch:
    """VGG-16 for CIFAR: thirteen convs. ``vgg16`` is DCFF's, ``vgg16_hrank`` CFDP's and ``vgg16_cdp`` CDP's.

    They differ in the head alone, and CDP's convs have no bias. DCFF's list has one rate for each conv, CFDP's (that
    of HRank) none for the last.
    """
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    filters = {f"conv{i}": n for i, n in enumerate(widths, 1)}
    options, layouts = {
        "vgg16": ({}, {"dcff": Layout(_each(filters))}),
        "vgg16_hrank": ({"head": "norm"}, {"hrank": Layout(_each(filters)[:-1], functional=("avgpool",))}),
        "vgg16_cdp": ({"head": "hidden", "bias": False}, {"each": Layout(_each(filters))}),
    }[name]
    return _arch(name, "vgg:VGG", filters, (), layouts, options=options, cam_layer="relu10")


def resnet_cifar(name: str, depth: int) -> Arch:
    """CIFAR ResNet of ``depth = 6n + 2``: three stages of n two-conv blocks at 16, 32 and 64 filters.

    DCFF's list: one rate for each block's conv1, then one for each stage's conv2; the stem takes stage 1's. HRank's:
    the stem, stages 1 and 2, then each conv1.
    """
    blocks = (depth - 2) // 6
    filters = {"conv1": 16}
    for stage, n in enumerate((16, 32, 64), 1):
        filters |= {f"layer{stage}.{block}.conv{i}": n for block in range(blocks) for i in (1, 2)}
    inner = tuple((conv,) for conv in filters if conv.startswith("layer") and conv.endswith("conv1"))
    outer = tuple(tuple(f"layer{stage}.{block}.conv2" for block in range(blocks)) for stage in (1, 2, 3))
    first = ("conv1", *outer[0])
    layouts = {
        "dcff": Layout((*inner, first, *outer[1:]), functional_in_base=("avgpool",)),
        "hrank": Layout((("conv1",), *outer[:2], *inner)),
    }
    tied = (first, *outer[1:])
    return _arch(name, "resnet_cifar:ResNet", filters, tied, layouts, cam_layer="layer3", pads=True)


def googlenet(name: str) -> Arch:
    """GoogLeNet for CIFAR: a stem and nine inceptions of seven convs.

    DCFF's list has one rate for each conv. HRank's has an unused one, and one for each inception, which prunes its
    3x3 conv and both of its 5x5 branch's (of the last inception only the first of these).
    """
    inceptions = {
        "a3": (64, 96, 128, 16, 32, 32, 32),
        "b3": (128, 128, 192, 32, 96, 96, 64),
        "a4": (192, 96, 208, 16, 48, 48, 64),
        "b4": (160, 112, 224, 24, 64, 64, 64),
        "c4": (128, 128, 256, 24, 64, 64, 64),
        "d4": (112, 144, 288, 32, 64, 64, 64),
        "e4": (256, 160, 320, 32, 128, 128, 128),
        "a5": (256, 160, 320, 32, 128, 128, 128),
        "b5": (384, 192, 384, 48, 128, 128, 128),
    }
    branches = ("b1", "b2_reduce", "b2", "b3_reduce", "b3_a", "b3_b", "b4")
    filters = {"stem.conv": 192}
    for inception, widths in inceptions.items():
        filters |= {f"{inception}.{branch}.conv": n for branch, n in zip(branches, widths, strict=True)}
    hrank = tuple(tuple(f"{i}.{b}.conv" for b in ("b2", "b3_a", "b3_b")) for i in inceptions if i != "b5")
    layouts = {"dcff": Layout(_each(filters)), "hrank": Layout(((), *hrank, ("b5.b3_a.conv",)))}
    return _arch(name, "googlenet:GoogLeNet", filters, (), layouts, cam_layer="b5")


def resnet(name: str, depth: int, deep_stem: bool = False) -> Arch:
    """ImageNet ResNet, v1.5 (the stride is on the 3x3 conv); ``deep_stem`` has three 3x3 convs before, v1c.

    DCFF's list: the stem, each block's conv1, each block's conv2, and one rate for each stage's output, which the
    shortcut's conv shares (where blocks have two convs the stem takes stage 1's). HRank's: stem, stages 1 to 3, and
    one for each block's two inner convs. EagleEye's goes stage by stage: inner convs in order, then the output.
    ABCPruner's has the inner widths alone. mmrazor's ``CPrate`` has a rate for every conv but the shortcuts'.
    """
    bottleneck = depth >= 50
    stem = {"stem.0": 32, "stem.3": 32, "stem.6": 64} if deep_stem else {"conv1": 64}
    inner_convs = ("conv1", "conv2") if bottleneck else ("conv1",)
    filters, inner, outer = dict(stem), [], []  # inner[stage][block], outer[stage]: tuples of conv names
    for stage, blocks in enumerate(STAGES[depth], 1):
        planes, inner_of, outer_of = 64 << (stage - 1), [], []
        for block in range(blocks):
            convs = [f"layer{stage}.{block}.{conv}" for conv in inner_convs]
            last = f"layer{stage}.{block}.conv{len(inner_convs) + 1}"
            filters |= dict.fromkeys(convs, planes) | {last: planes * (4 if bottleneck else 1)}
            inner_of.append(tuple(convs))
            outer_of.append(last)
            if block == 0 and (bottleneck or stage > 1):
                filters[f"layer{stage}.0.downsample.0"] = filters[last]
                outer_of.append(f"layer{stage}.0.downsample.0")
        inner.append(inner_of)
        outer.append(tuple(outer_of))
    *first, last_stem = stem
    if not bottleneck:
        outer[0] = (last_stem, *outer[0])
    stems = tuple((conv,) for conv in (stem if bottleneck else first))
    flat = [convs for stage in inner for convs in stage]
    by_position = tuple((convs[i],) for i in range(len(inner_convs)) for convs in flat)
    window = ("avgpool",)
    layouts = {"dcff": Layout((*stems, *by_position, *outer), window_pools=window)}
    if bottleneck:
        in_order = tuple(g for of, out in zip(inner, outer, strict=True) for g in (*((c,) for b in of for c in b), out))
        one_each = tuple((c, *([f"{c[:-5]}downsample.0"] if c.endswith(".0.conv3") else []))
                         for c in filters if "downsample" not in c)  # fmt: skip
        layouts |= {
            "hrank": Layout((*stems, *outer[:3], *flat)),
            "eagleeye": Layout((*stems, *in_order), "fraction", window_pools=window),
            "abcpruner": Layout(tuple(flat), "tenths", window_pools=window),
            "mmrazor": Layout(one_each),
        }
    return _arch(
        name, "resnet:ResNet", filters, tuple(outer), layouts, options={"deep_stem": deep_stem}, head="fc",
        image=(3, 224, 224), classes=1000, cam_layer="layer4",
    )  # fmt: skip


def under(name: str, cls: str, backbone: Arch, image: tuple[int, int, int], classes: int, head: str) -> Arch:
    """``backbone`` under a head for another task: its convs, units and layouts, named ``backbone.…``."""

    def named(groups: Iterable[tuple[str, ...]]) -> Groups:
        return tuple(tuple(f"backbone.{conv}" for conv in convs) for convs in groups)

    layouts = {
        key: replace(layout, groups=named(layout.groups), window_pools=()) for key, layout in backbone.layouts.items()
    }
    first = {"mmrazor": layouts.pop("mmrazor"), **layouts}
    del first["units"]
    filters = {f"backbone.{conv}": n for conv, n in backbone.filters.items()}
    return _arch(name, cls, filters, named(backbone.units.values()), first, image=image, classes=classes, head=head)


def mobilenet_v2(name: str) -> Arch:
    """MobileNetV2 (Sandler et al. 2018): 17 inverted residual blocks; a depthwise conv follows the conv it reads.

    DCFF's list (from an early commit of its code) has 35 rates: each conv but the depthwise ones, in order; those
    whose outputs are added must agree.
    """
    filters, listed, channels, index = {"features.0.0": 32}, ["features.0.0"], 32, 1
    tied: list[tuple[str, ...]] = []
    for expansion, outer, blocks in (
        (1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)
    ):  # fmt: skip
        projections = []
        for _ in range(blocks):
            block, source = f"features.{index}", "features.0.0"
            if expansion > 1:
                source = f"{block}.expand"
                filters[source] = channels * expansion
                listed.append(source)
            filters |= {f"{block}.depthwise": filters[source], f"{block}.project": outer}
            tied.append((source, f"{block}.depthwise"))
            projections.append(f"{block}.project")
            listed.append(projections[-1])
            channels, index = outer, index + 1
        tied.append(tuple(projections))
    filters["features.18.0"] = 1280
    follows = {convs[0]: convs[1] for convs in tied if convs[-1].endswith(".depthwise")}
    dcff = tuple((conv, *([follows[conv]] if conv in follows else [])) for conv in (*listed, "features.18.0"))
    layouts = {"dcff": Layout(dcff, functional=("avgpool",))}
    return _arch(
        name, "mobilenet:MobileNetV2", filters, tuple(tied), layouts, head="classifier",
        image=(3, 224, 224), classes=1000, cam_layer="features.18",
    )  # fmt: skip


ARCHS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        vgg("vgg16"),
        vgg("vgg16_hrank"),
        vgg("vgg16_cdp"),
        resnet_cifar("resnet20", 20),
        resnet_cifar("resnet56", 56),
        resnet_cifar("resnet110", 110),
        googlenet("googlenet"),
        *(resnet(f"resnet{depth}", depth) for depth in STAGES),
        resnet("resnet50_v1c", 50, deep_stem=True),
        mobilenet_v2("mobilenet_v2"),
        under("faster_rcnn", "dense:FasterRCNN", resnet("", 50), (3, 800, 1280), 80, "box_class"),
        under("pointrend", "dense:PointRend", resnet("", 50, deep_stem=True), (3, 512, 1024), 19, "coarse"),
        under("pose", "dense:PoseNet", resnet("", 50), (3, 256, 192), 17, "heatmap"),
    )
}
