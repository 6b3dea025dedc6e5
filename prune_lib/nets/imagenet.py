"""The networks for ImageNet and beyond, as data: their convs, what each reads, and the papers' rate lists for them."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from .arch import Arch, Groups, make_arch
from .spec import Layout

FAN_OUT = "2026-11-27, when first weights began to have a variance of 2/fan_out, as published (not 2/fan_in)"
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # blocks of each depth
MOBILE_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)  # of MobileNetV2's 17 blocks
SSD300 = ((256, 512, 2), (256, 512, 2), (128, 256, 2), (128, 256, 1), (128, 256, 1))  # see ``ssd.SSD``'s ``extras``


def resnet(
    name: str, depth: int, deep_stem: bool = False, width: int = 64, stages: int = 4, early_stride: bool = False
) -> Arch:
    """ImageNet ResNet, v1.5 (the stride is on the 3x3 conv); ``deep_stem`` has three 3x3 convs before, v1c, and
    ``early_stride`` the stride on the first 1x1 conv, v1.

    Its first stage has ``width`` filters, and each of the others twice as many as the one before. With fewer ``stages``
    it is a backbone without the last.

    DCFF's list: the stem, each block's conv1, each block's conv2, and one rate for each stage's output, which the
    shortcut's conv shares (where blocks have two convs the stem takes stage 1's). HRank's: stem, stages 1 to 3, and
    one for each block's two inner convs. EagleEye's goes stage by stage: inner convs in order, then the output.
    ABCPruner's has the inner widths alone. mmrazor's ``CPrate`` has a rate for every conv but the shortcuts'. HRank's
    masks have one for every conv, a stage's shortcut before its blocks.
    """
    bottleneck = depth >= 50
    stem = {"stem.0": width // 2, "stem.3": width // 2, "stem.6": width} if deep_stem else {"conv1": width}
    inner_convs = ("conv1", "conv2") if bottleneck else ("conv1",)
    filters, inner, outer = dict(stem), [], []  # inner[stage][block], outer[stage]: tuples of conv names
    for stage, blocks in enumerate(STAGES[depth][:stages], 1):
        planes, inner_of, outer_of = width << (stage - 1), [], []
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
        in_order: list[tuple[str, ...]] = []  # stage by stage: each inner conv by itself, then the stage's outputs
        for blocks_of, outputs in zip(inner, outer, strict=True):
            in_order += [(conv,) for convs in blocks_of for conv in convs] + [outputs]
        one_each = []  # every conv by itself, but a shortcut's with the last conv beside it
        for conv in filters:
            if "downsample" not in conv:
                shortcut = conv.replace("conv3", "downsample.0")
                one_each.append((conv, shortcut) if conv.endswith(".0.conv3") else (conv,))
        masks: list[tuple[str, ...]] = []  # every conv by itself, a stage's shortcut first
        for blocks_of, outputs in zip(inner, outer, strict=True):
            convs = [conv for convs in blocks_of for conv in (*convs, f"{convs[0][:-1]}3")]
            masks += [(conv,) for conv in (*(c for c in outputs if "downsample" in c), *convs)]
        layouts |= {
            "hrank": Layout((*stems, *outer[:3], *flat)),
            "eagleeye": Layout((*stems, *in_order), "fraction", window_pools=window),
            "abcpruner": Layout(tuple(flat), "tenths", window_pools=window),
            "mmrazor": Layout(tuple(one_each)),
            "hrank_masks": Layout((*stems, *masks), "fraction"),
        }
    order = list(stem)
    inputs = {conv: (before,) for before, conv in pairwise(order)}
    inputs |= {f"stem.{int(c[5:]) + 1}": (c,) for c in order} if deep_stem else {"bn1": ("conv1",)}
    source = last_stem
    for of, outputs in zip(inner, outer, strict=True):
        for pair in of:
            at = pair[0].rsplit(".", 1)[0]
            chain = [*pair, f"{at}.conv{len(pair) + 1}"]
            inputs |= {conv: (before,) for before, conv in zip([source, *chain], chain, strict=False)}
            inputs |= {conv.replace("conv", "bn"): (conv,) for conv in chain}
            if f"{at}.downsample.0" in filters:
                inputs |= {f"{at}.downsample.0": (source,), f"{at}.downsample.1": (f"{at}.downsample.0",)}
            source = outputs[0]
    inputs["fc"] = (source,)
    options = {"deep_stem": deep_stem} | ({"early_stride": True} if early_stride else {})
    return make_arch(
        name, "resnet:ResNet", filters, tuple(outer), layouts, inputs, options=options, head="fc",
        image=(3, 224, 224), classes=1000, cam_layer="layer4", redrawn=(FAN_OUT,),
    )  # fmt: skip


def under(name: str, cls: str, backbone: Arch, image: tuple[int, int, int], classes: int, head: str, **options) -> Arch:
    """``backbone`` under a head for another task: its convs, units and layouts, named ``backbone.…``."""

    def named(groups: Iterable[tuple[str, ...]]) -> Groups:
        return tuple(tuple(f"backbone.{conv}" for conv in convs) for convs in groups)

    layouts = {
        key: replace(layout, groups=named(layout.groups), window_pools=()) for key, layout in backbone.layouts.items()
    }
    del layouts["units"]  # make_arch adds its own
    first = {"mmrazor": layouts["mmrazor"], **layouts} if "mmrazor" in layouts else layouts  # the default, if there
    filters = {f"backbone.{conv}": n for conv, n in backbone.filters.items()}
    inputs = {f"backbone.{m}": named([convs])[0] for m, convs in backbone.inputs.items() if m != backbone.head}
    last = "conv3" if "layer1.0.conv3" in backbone.filters else "conv2"
    stages = [out for stage in (1, 2, 3, 4) if (out := f"backbone.layer{stage}.0.{last}") in filters]
    readers = {"heatmap": ("deconv.0",), "classes.0": ("extras.0.0", "classes.0", "boxes.0")}  # of the last stage
    reads = dict.fromkeys(readers.get(head, ()), stages[-1]) or {f"neck.lateral.{i}": s for i, s in enumerate(stages)}
    inputs |= {module: (stage,) for module, stage in reads.items()}
    return make_arch(
        name, cls, filters, named(backbone.units.values()), first, inputs, options=options, image=image,
        classes=classes, head=head, redrawn=backbone.redrawn, background=int(head in ("box_class", "classes.0")),
        anchors=4 if head == "classes.0" else 1,
    )  # fmt: skip


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
    inputs, stream = {"features.0.1": ("features.0.0",), "features.18.1": ("features.18.0",)}, "features.0.0"
    for i in range(1, 18):
        block, first = f"features.{i}", next(g[0] for g in tied if f"features.{i}.project" in g)
        if i > 1:
            inputs |= {f"{block}.expand": (stream,), f"{block}.expand_bn": (f"{block}.expand",)}
        inputs |= {f"{block}.depthwise_bn": (f"{block}.depthwise",), f"{block}.project": (f"{block}.depthwise",)}
        inputs[f"{block}.project_bn"] = (f"{block}.project",)
        stream = first
    inputs |= {"features.18.0": (stream,), "classifier": ("features.18.0",)}
    follows = {convs[0]: convs[1] for convs in tied if convs[-1].endswith(".depthwise")}
    dcff = tuple((conv, *([follows[conv]] if conv in follows else [])) for conv in (*listed, "features.18.0"))
    layouts = {"dcff": Layout(dcff, functional=("avgpool",))}
    return make_arch(
        name, "mobilenet:MobileNetV2", filters, tuple(tied), layouts, inputs, head="classifier",
        image=(3, 224, 224), classes=1000, cam_layer="features.18", redrawn=(FAN_OUT,),
    )  # fmt: skip
