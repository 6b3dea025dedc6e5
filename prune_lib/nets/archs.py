"""What an architecture is before any tensor exists: its convs, their full widths, and how rate lists map to them.

A *layout* says which convs each rate of a published list governs. It is plain data: group ``i`` names the convs that
take rate ``i``. The convs of a residual stage share one group, since their outputs are added.
"""

from dataclasses import dataclass, field

from ..spec import Layout


@dataclass(frozen=True)
class Arch:
    name: str
    cls: str  # "module:Class" in this package
    filters: dict[str, int]  # conv name -> filters of the full network, in module order
    layouts: dict[str, Layout] = field(repr=False)  # whose rate list -> its groups
    image: tuple[int, int, int] = (3, 32, 32)
    cam_layer: str = ""  # the module whose output Grad-CAM weighs: the last with maps of 4x4 pixels or more
    functional_in_base: tuple[str, ...] = ()  # modules that the papers' *full* network calls as functions instead


def vgg(name: str) -> Arch:
    """VGG-16 for CIFAR: thirteen convs; DCFF's list has one rate for each."""
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    filters = {f"conv{i}": n for i, n in enumerate(widths, 1)}
    dcff = tuple((conv,) for conv in filters)
    return Arch(name, "vgg:VGG", filters, {"dcff": dcff}, cam_layer="relu10")


def resnet_cifar(name: str, depth: int) -> Arch:
    """CIFAR ResNet of ``depth = 6n + 2``: three stages of n two-conv blocks at 16, 32 and 64 filters.

    DCFF's list: one rate for each block's conv1, then one for each stage's conv2; the stem takes stage 1's.
    """
    blocks = (depth - 2) // 6
    filters = {"conv1": 16}
    for stage, n in enumerate((16, 32, 64), 1):
        filters |= {f"layer{stage}.{block}.conv{i}": n for block in range(blocks) for i in (1, 2)}
    inner = tuple((conv,) for conv in filters if conv.startswith("layer") and conv.endswith("conv1"))
    outer = tuple(tuple(f"layer{stage}.{block}.conv2" for block in range(blocks)) for stage in (1, 2, 3))
    dcff = (*inner, ("conv1", *outer[0]), *outer[1:])
    return Arch(
        name, "resnet_cifar:ResNet", filters, {"dcff": dcff}, cam_layer="layer3", functional_in_base=("avgpool",)
    )


def googlenet(name: str) -> Arch:
    """GoogLeNet for CIFAR: a stem and nine inceptions of seven convs; DCFF's list has one rate for each conv."""
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
    dcff = tuple((conv,) for conv in filters)
    return Arch(name, "googlenet:GoogLeNet", filters, {"dcff": dcff}, cam_layer="b5")


ARCHS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        vgg("vgg16"),
        resnet_cifar("resnet20", 20),
        resnet_cifar("resnet56", 56),
        resnet_cifar("resnet110", 110),
        googlenet("googlenet"),
    )
}
