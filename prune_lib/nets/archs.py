"""Every architecture by name."""

from .arch import Arch
from .cifar import densenet40, googlenet, resnet_cifar, vgg
from .imagenet import STAGES, mobilenet_v2, resnet, under

THIN = resnet("", 18, width=16)
SMALL_SSD = {"extras": ((32, 64, 2), (32, 64, 2), (32, 64, 1)), "scales": (0.15, 0.25, 0.4, 0.6, 0.9), "cells": ()}
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
        resnet("resnet50_v1", 50, early_stride=True),
        resnet("resnet50_v1c", 50, deep_stem=True),
        mobilenet_v2("mobilenet_v2"),
        under("faster_rcnn", "detection:FasterRCNN", resnet("", 50), (3, 800, 1280), 80, "box_class"),
        under("mask_rcnn", "detection:MaskRCNN", resnet("", 50), (3, 800, 1280), 80, "box_class"),
        under("ssd300", "ssd:SSD", resnet("", 50, stages=3), (3, 300, 300), 80, "classes.0"),
        under("pointrend", "pointrend:PointRend", resnet("", 50, deep_stem=True), (3, 512, 1024), 19, "coarse"),
        under("pose", "dense:PoseNet", resnet("", 50), (3, 256, 192), 17, "heatmap"),
        # the same classes around a thin ResNet-18: what a CPU trains in seconds
        under("faster_rcnn_small", "detection:FasterRCNN", THIN, (3, 96, 96), 3, "box_class", width=64, regions=32),
        under("mask_rcnn_small", "detection:MaskRCNN", THIN, (3, 96, 96), 3, "box_class", width=32, regions=32),
        under("ssd_small", "ssd:SSD", resnet("", 18, width=16, stages=3), (3, 96, 96), 3, "classes.0", **SMALL_SSD),
        under("pointrend_small", "pointrend:PointRend", resnet("", 18, True, 16), (3, 64, 128), 19, "coarse", width=64),
        under("pose_small", "dense:PoseNet", THIN, (3, 64, 64), 17, "heatmap", width=64),
    )
}
