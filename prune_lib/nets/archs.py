"""Every architecture by name."""

from .arch import Arch
from .cifar import densenet40, googlenet, resnet_cifar, vgg
from .imagenet import STAGES, mobilenet_v2, resnet, under

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
        under("faster_rcnn", "dense:FasterRCNN", resnet("", 50), (3, 800, 1280), 80, "box_class"),
        under("pointrend", "dense:PointRend", resnet("", 50, deep_stem=True), (3, 512, 1024), 19, "coarse"),
        under("pose", "dense:PoseNet", resnet("", 50), (3, 256, 192), 17, "heatmap"),
    )
}
