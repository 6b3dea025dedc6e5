"""What every network calls in evaluation for one image, without torch: its ``forward`` as arithmetic on shapes.

Each function here stands for the class of the same networks (``vgg`` for ``vgg.VGG``), which has their tensors;
``tests/test_plans.py`` holds the two to one another, call by call, at any widths.
"""

from collections.abc import Callable, Mapping, Sequence

from .arch import Arch
from .imagenet import MOBILE_STRIDES, SSD300
from .layers import Plan, Shape

Widths = Mapping[str, int]


def plan(arch: Arch, widths: Widths, classes: int | None = None) -> Plan:
    """The plan of ``arch`` at ``widths``, one for each of its convs, for one image of its own size."""
    made = Plan()
    PLANS[arch.cls](made, (1, *arch.image), widths, arch.classes if classes is None else classes, **arch.options)
    return made


def vgg(p: Plan, x: Shape, widths: Widths, classes: int, head: str = "single", bias: bool = True) -> None:
    for i, (conv, filters) in enumerate(widths.items(), 1):
        x = p.conv_norm_relu((conv, f"bn{i}", f"relu{i}"), x, filters, 3, bias=bias)
        if i in (2, 4, 7, 10) or (i == 13 and head == "single"):
            x = p.pool(f"pool{i}", x, 2, 2)
    side = 1 if head == "single" else 2
    x = _flat(p.pool("avgpool", x, side, side, kind="AvgPool2d"))
    if head != "single":
        x = p.linear("hidden", x, 512)
        if head == "norm":
            x = p.norm("hidden_bn", x)
        x = p.relu("hidden_relu", x)
    p.linear("linear", x, classes)


def resnet_cifar(p: Plan, x: Shape, widths: Widths, classes: int) -> None:
    x = p.conv_norm_relu(("conv1", "bn1", "relu"), x, widths["conv1"], 3)
    for conv, filters in widths.items():
        if conv.startswith("layer"):
            block, i = conv[: -len(".conv1")], conv[-1]
            stride = 2 if i == "1" and block in ("layer2.0", "layer3.0") else 1
            x = p.conv_norm_relu((conv, f"{block}.bn{i}", f"{block}.relu{i}"), x, filters, 3, stride)
    p.linear("linear", _flat(p.global_pool("avgpool", x)), classes)


def densenet(p: Plan, x: Shape, widths: Widths, classes: int) -> None:
    for conv, filters in widths.items():
        at = conv.removesuffix(".conv")
        if conv == "conv1":
            x = p.conv(conv, x, filters, 3)
            continue
        y = p.relu(f"{at}.relu", p.norm(f"{at}.bn", x))
        if at.startswith("dense"):
            p.conv(conv, y, filters, 3)
            x = _wider(x, filters)
        else:
            x = p.pool(f"{at}.pool", p.conv(conv, y, filters), 2, 2, kind="AvgPool2d")
    x = p.pool("avgpool", p.relu("relu", p.norm("bn", x)), 8, 8, kind="AvgPool2d")
    p.linear("linear", _flat(x), classes)


def googlenet(p: Plan, x: Shape, widths: Widths, classes: int) -> None:
    def branch(at: str, x: Shape, kernel: int = 1) -> Shape:
        return p.conv_norm_relu((f"{at}.conv", f"{at}.bn", f"{at}.relu"), x, widths[f"{at}.conv"], kernel, bias=True)

    x = branch("stem", x, 3)
    for at in dict.fromkeys(conv.split(".")[0] for conv in widths if conv != "stem.conv"):
        if at in ("a4", "a5"):
            x = p.pool(f"pool_{at}", x, 3, 2, 1)
        parts = (
            branch(f"{at}.b1", x),
            branch(f"{at}.b2", branch(f"{at}.b2_reduce", x), 3),
            branch(f"{at}.b3_b", branch(f"{at}.b3_a", branch(f"{at}.b3_reduce", x), 3), 3),
            branch(f"{at}.b4", p.pool(f"{at}.pool", x, 3, 1, 1)),
        )
        x = _with(x, sum(part[1] for part in parts))
    p.linear("linear", _flat(p.pool("avgpool", x, 8, 8, kind="AvgPool2d")), classes)


def stages(
    p: Plan, x: Shape, widths: Widths, at: str = "", third_stride: int = 2, early_stride: bool = False
) -> list[Shape]:
    """The maps of a ResNet's stages, whose modules are named ``at + …``; SSD's third stage keeps its stride at 1."""
    if f"{at}stem.0" in widths:
        for i, stride in ((0, 2), (3, 1), (6, 1)):
            names = f"{at}stem.{i}", f"{at}stem.{i + 1}", f"{at}stem.{i + 2}"
            x = p.conv_norm_relu(names, x, widths[names[0]], 3, stride)
    else:
        x = p.conv_norm_relu((f"{at}conv1", f"{at}bn1", f"{at}relu"), x, widths[f"{at}conv1"], 7, 2)
    x = p.pool(f"{at}maxpool", x, 3, 2, 1)
    maps: list[Shape] = []
    for stage, stride in ((1, 1), (2, 2), (3, third_stride), (4, 2)):
        block = 0
        while f"{at}layer{stage}.{block}.conv1" in widths:
            x = _block(p, x, widths, f"{at}layer{stage}.{block}", stride if block == 0 else 1, early_stride)
            block += 1
        if block:
            maps.append(x)
    return maps


def _block(p: Plan, x: Shape, widths: Widths, at: str, stride: int, early_stride: bool) -> Shape:
    """Two 3x3 convs, or 1x1, 3x3 and 1x1; the first 3x3 conv has the stride, and a conv of the shortcut comes first.

    With ``early_stride`` the very first conv has it.
    """
    if (conv := f"{at}.downsample.0") in widths:
        p.norm(f"{at}.downsample.1", p.conv(conv, x, widths[conv], 1, stride))
    kernels = (1, 3, 1) if f"{at}.conv3" in widths else (3, 3)
    for i, kernel in enumerate(kernels, 1):
        step = stride if i == (1 if early_stride else kernels.index(3) + 1) else 1
        names = f"{at}.conv{i}", f"{at}.bn{i}", f"{at}.relu{i}"
        x = p.conv_norm_relu(names, x, widths[names[0]], kernel, step)
    return x


def resnet(p: Plan, x: Shape, widths: Widths, classes: int, early_stride: bool = False, **_) -> None:
    x = stages(p, x, widths, early_stride=early_stride)[-1]
    p.linear("fc", _flat(p.global_pool("avgpool", x)), classes)


def mobilenet_v2(p: Plan, x: Shape, widths: Widths, classes: int) -> None:
    def ends(at: str, x: Shape, kernel: int, stride: int) -> Shape:
        names = f"{at}.0", f"{at}.1", f"{at}.2"
        return p.relu(names[2], p.norm(names[1], p.conv(names[0], x, widths[names[0]], kernel, stride)), "ReLU6")

    x = ends("features.0", x, 3, 2)
    for index, stride in enumerate(MOBILE_STRIDES, 1):
        at = f"features.{index}"
        if (conv := f"{at}.expand") in widths:
            x = p.relu(f"{conv}_relu", p.norm(f"{conv}_bn", p.conv(conv, x, widths[conv])), "ReLU6")
        conv = f"{at}.depthwise"
        x = p.norm(f"{conv}_bn", p.conv(conv, x, widths[conv], 3, stride, groups=widths[conv]))
        x = p.relu(f"{conv}_relu", x, "ReLU6")
        x = p.norm(f"{at}.project_bn", p.conv(f"{at}.project", x, widths[f"{at}.project"]))
    x = ends("features.18", x, 1, 1)
    p.linear("classifier", _flat(p.global_pool("avgpool", x)), classes)


def _pyramid(p: Plan, maps: Sequence[Shape], levels: int, width: int) -> list[Shape]:
    lateral = [p.conv(f"neck.lateral.{i}", x, width, bias=True) for i, x in enumerate(maps)]
    smooth = [p.conv(f"neck.smooth.{i}", x, width, 3, bias=True) for i, x in enumerate(lateral)]
    n, channels, *sides = smooth[-1]
    return smooth + [(n, channels, *((side - 1) // 2 + 1 for side in sides))] * (levels - len(smooth))


def faster_rcnn(p: Plan, x: Shape, widths: Widths, classes: int, width: int = 256, masks: bool = False, **_) -> None:
    levels = _pyramid(p, stages(p, x, widths, "backbone."), 5, width)
    shared = [p.conv("rpn_conv", level, width, 3, bias=True) for level in levels]
    for name, filters in (("rpn_class", 3), ("rpn_box", 12)):
        for level in shared:
            p.conv(name, level, filters, bias=True)
    if masks:
        y: Shape = (100, width, 14, 14)
        for i in range(4):
            y = p.relu(f"mask_convs.{2 * i + 1}", p.conv(f"mask_convs.{2 * i}", y, width, 3, bias=True))
        p.conv("mask", p.transposed("mask_deconv", y, width, 2, bias=True), classes + 1, bias=True)
    regions = p.relu("relu", p.linear("fc1", (1000, width * 7 * 7), 4 * width))
    regions = p.relu("relu", p.linear("fc2", regions, 4 * width))
    p.linear("box_class", regions, classes + 1)
    p.linear("box", regions, 4 * classes)


def mask_rcnn(p: Plan, x: Shape, widths: Widths, classes: int, **options) -> None:
    faster_rcnn(p, x, widths, classes, masks=True, **options)


def ssd(p: Plan, x: Shape, widths: Widths, classes: int, extras=SSD300, **_) -> None:
    maps = [stages(p, x, widths, "backbone.", third_stride=1)[-1]]
    for i, (inner, outer, stride) in enumerate(extras):
        names = [f"extras.{i}.{j}" for j in range(6)]
        y = p.conv_norm_relu((names[0], names[1], names[2]), maps[-1], inner)
        maps.append(p.conv_norm_relu((names[3], names[4], names[5]), y, outer, 3, stride, stride - 1))
    for name, scores in (("classes", classes + 1), ("boxes", 4)):
        for i, y in enumerate(maps):
            boxes = 6 if 0 < i < len(maps) - 2 else 4
            p.conv(f"{name}.{i}", y, boxes * scores, 3, bias=True)


def pointrend(p: Plan, x: Shape, widths: Widths, classes: int, width: int = 256) -> None:
    levels = _pyramid(p, stages(p, x, widths, "backbone."), 4, width)
    for i, convs in enumerate((1, 1, 2, 3)):
        x = levels[i]
        for j in range(convs):
            at = f"scales.{i}.{j}"
            x = p.conv_norm_relu((f"{at}.0", f"{at}.1", f"{at}.2"), x, width // 2, 3)
            if x[-1] < levels[0][-1]:
                x = (*x[:2], *(2 * side for side in x[2:]))
    p.conv("coarse", x, classes, bias=True)
    points = min(8196, levels[0][2] * levels[0][3])  # of mmseg's two steps of refinement
    for _ in range(2):
        for i in range(3):
            y = p.conv(f"point_layers.{i}.0", (1, width + classes, points), width, bias=True)
            p.relu(f"point_layers.{i}.1", y)
        p.conv("point_class", (1, width + classes, points), classes, bias=True)


def pose(p: Plan, x: Shape, widths: Widths, classes: int, width: int = 256) -> None:
    x = stages(p, x, widths, "backbone.")[-1]
    for i in (0, 3, 6):
        x = p.transposed(f"deconv.{i}", x, width, 4, 1)
        x = p.relu(f"deconv.{i + 2}", p.norm(f"deconv.{i + 1}", x))
    p.conv("heatmap", x, classes, bias=True)


def _flat(x: Shape) -> Shape:
    return x[0], x[1] * x[2] * x[3]


def _with(x: Shape, channels: int) -> Shape:
    return x[0], channels, *x[2:]


def _wider(x: Shape, channels: int) -> Shape:
    return _with(x, x[1] + channels)


PLANS: dict[str, Callable[..., None]] = {  # Arch.cls -> its plan
    "vgg:VGG": vgg,
    "resnet_cifar:ResNet": resnet_cifar,
    "densenet:DenseNet": densenet,
    "googlenet:GoogLeNet": googlenet,
    "resnet:ResNet": resnet,
    "mobilenet:MobileNetV2": mobilenet_v2,
    "detection:FasterRCNN": faster_rcnn,
    "detection:MaskRCNN": mask_rcnn,
    "ssd:SSD": ssd,
    "pointrend:PointRend": pointrend,
    "dense:PoseNet": pose,
}
