"""The networks for 32x32 images, as data: their convs, what each reads, and the papers' rate lists for them."""

from .arch import Arch, each, make_arch
from .spec import Layout

LINEAR = "2026-11-27, when the ResNets' linear layer began to be drawn as the published code does (He, not uniform)"


def vgg(name: str) -> Arch:
    """VGG-16 for CIFAR: thirteen convs. ``vgg16`` is DCFF's, ``vgg16_hrank`` CFDP's and ``vgg16_cdp`` CDP's.

    They differ in the head alone, and CDP's convs have no bias. DCFF's list has one rate for each conv, CFDP's (that
    of HRankPlus) none for the last. HRank's first list, of masks, has thirteen, and truncates what is pruned.
    """
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    filters = {f"conv{i}": n for i, n in enumerate(widths, 1)}
    options, layouts = {
        "vgg16": ({}, {"dcff": Layout(each(filters))}),
        "vgg16_hrank": (
            {"head": "norm"},
            {
                "hrank": Layout(each(filters)[:-1], functional=("avgpool",)),
                "hrank_masks": Layout(each(filters), "fraction", functional=("avgpool",)),
            },
        ),
        "vgg16_cdp": ({"head": "hidden", "bias": False}, {"each": Layout(each(filters))}),
    }[name]
    inputs = {f"conv{i}": (f"conv{i - 1}",) for i in range(2, 14)} | {f"bn{i}": (f"conv{i}",) for i in range(1, 14)}
    inputs["hidden" if options else "linear"] = ("conv13",)
    return make_arch(name, "vgg:VGG", filters, (), layouts, inputs, options=options, cam_layer="relu10")


def resnet_cifar(name: str, depth: int) -> Arch:
    """CIFAR ResNet of ``depth = 6n + 2``: three stages of n two-conv blocks at 16, 32 and 64 filters.

    DCFF's list: one rate for each block's conv1, then one for each stage's conv2; the stem takes stage 1's. HRank's:
    the stem, stages 1 and 2, then each conv1; of its masks, one for each conv.
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
        "hrank_masks": Layout(each(filters), "fraction"),
    }
    tied = (first, *outer[1:])
    padded = {outer[1][0]: "conv1", outer[2][0]: outer[1][0]}
    inputs: dict[str, tuple[str, ...]] = {"bn1": ("conv1",)}
    stream = "conv1"  # the conv that wrote last to what the next block reads
    for stage in (1, 2, 3):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            inputs |= {f"{at}.conv1": (stream,), f"{at}.bn1": (f"{at}.conv1",)}
            inputs |= {f"{at}.conv2": (f"{at}.conv1",), f"{at}.bn2": (f"{at}.conv2",)}
            stream = f"{at}.conv2"
    inputs["linear"] = (stream,)
    return make_arch(
        name, "resnet_cifar:ResNet", filters, tied, layouts, inputs,
        cam_layer="layer3", padded=padded, redrawn=(LINEAR,),
    )  # fmt: skip


def densenet40(name: str) -> Arch:
    """DenseNet-40 of growth 12 (Huang et al. 2017, arXiv 1608.06993): three dense blocks of twelve 3x3 convs.

    A layer's BatchNorm stands before its conv and reads everything that came before. HRank's list has one rate for
    each conv; its transitions, 1x1 convs, keep the number of channels, or their rate's share of it. Of its masks a
    transition's is the share of the full network's.
    """
    filters, channels = {"conv1": 24}, 24
    inputs: dict[str, tuple[str, ...]] = {}
    sources: tuple[str, ...] = ("conv1",)
    for block in (1, 2, 3):
        for layer in range(12):
            at = f"dense{block}.{layer}"
            inputs |= {f"{at}.bn": sources, f"{at}.conv": sources}
            filters[f"{at}.conv"], channels = 12, channels + 12
            sources = (*sources, f"{at}.conv")
        if block < 3:
            inputs |= {f"trans{block}.bn": sources, f"trans{block}.conv": sources}
            filters[f"trans{block}.conv"] = channels
            sources = (f"trans{block}.conv",)
    inputs |= {"bn": sources, "linear": sources}
    reads = {conv: inputs[conv] for conv in filters if conv.startswith("trans")}
    pools = ("trans1.pool", "trans2.pool")
    layouts = {
        "hrank": Layout(each(filters), functional=pools, reads=reads),
        "hrank_masks": Layout(each(filters), "fraction", functional=pools),
    }
    return make_arch(name, "densenet:DenseNet", filters, (), layouts, inputs, cam_layer="relu")


def googlenet(name: str) -> Arch:
    """GoogLeNet for CIFAR: a stem and nine inceptions of seven convs.

    DCFF's list has one rate for each conv. HRank's has an unused one, and one for each inception, which prunes its
    3x3 conv and both of its 5x5 branch's (of the last inception only the first of these). Its first list, of masks,
    prunes the stem and whatever an inception gives; by a slip c4 takes d4's rate, and the one meant for it is unused.
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
    masks = [tuple(f"{i}.{b}.conv" for b in ("b1", "b2", "b3_a", "b3_b", "b4")) for i in inceptions]
    masks[4:6] = [(), masks[4] + masks[5]]  # c4 and d4
    layouts = {
        "dcff": Layout(each(filters)),
        "hrank": Layout(((), *hrank, ("b5.b3_a.conv",))),
        "hrank_masks": Layout((("stem.conv",), *masks), "fraction"),
    }
    inputs: dict[str, tuple[str, ...]] = {f"{conv[:-5]}.bn": (conv,) for conv in filters}
    source: tuple[str, ...] = ("stem.conv",)
    for i in inceptions:
        inputs |= {f"{i}.{branch}.conv": source for branch in ("b1", "b2_reduce", "b3_reduce", "b4")}
        inputs |= {f"{i}.{b}.conv": (f"{i}.{a}.conv",) for a, b in (("b2_reduce", "b2"), ("b3_reduce", "b3_a"))}
        inputs[f"{i}.b3_b.conv"] = (f"{i}.b3_a.conv",)
        source = tuple(f"{i}.{branch}.conv" for branch in ("b1", "b2", "b3_b", "b4"))
    inputs["linear"] = source
    return make_arch(name, "googlenet:GoogLeNet", filters, (), layouts, inputs, cam_layer="b5")
