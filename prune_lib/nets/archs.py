"""Every architecture by name."""

from .arch import Arch
from .cifar import densenet40, googlenet, resnet_cifar, vgg
from .imagenet import STAGES, mobilenet_v2, resnet, under

THIN = resnet("", 18, width=16)
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
        densenet40("densenet40"),
        *(resnet(f"resnet{depth}", depth) for depth in STAGES),
        resnet("resnet50_v1c", 50, deep_stem=True),
        mobilenet_v2("mobilenet_v2"),
        under("faster_rcnn", "detection:FasterRCNN", resnet("", 50), (3, 800, 1280), 80, "box_class"),
        under("pointrend", "pointrend:PointRend", resnet("", 50, deep_stem=True), (3, 512, 1024), 19, "coarse"),
        under("pose", "dense:PoseNet", resnet("", 50), (3, 256, 192), 17, "heatmap"),
        # the same classes around a thin ResNet-18: what a CPU trains in seconds
        under("faster_rcnn_small", "detection:FasterRCNN", THIN, (3, 96, 96), 3, "box_class", width=64, regions=32),
        under("pointrend_small", "pointrend:PointRend", resnet("", 18, True, 16), (3, 64, 128), 19, "coarse", width=64),
        under("pose_small", "dense:PoseNet", THIN, (3, 64, 64), 17, "heatmap", width=64),
    )
}
