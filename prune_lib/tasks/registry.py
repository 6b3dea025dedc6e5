"""What a network is trained for: data, loss and metric. Listed here by the names that rows use."""

DENSE = {  # sets of other tasks than classification: name -> (the module that reads them, the score that judges)
    "coco": ("detection", "AP"),
    "shapes": ("detection", "AP"),
    "coco-masks": ("detection", "AP"),  # the same images, with the masks of the objects
    "shapes-masks": ("detection", "AP"),
    "coco-300": ("detection", "AP"),  # scaled to 300 x 300 pixels, whatever their proportions
    "shapes-300": ("detection", "AP"),
    "cityscapes": ("segmentation", "mIoU"),
    "shapes-cityscapes": ("segmentation", "mIoU"),
    "coco-keypoints": ("pose", "AP"),
    "shapes-keypoints": ("pose", "AP"),
}


def score_of(data: str) -> str:
    """What an epoch on the set ``data`` is judged by: ``top1``, ``AP`` or ``mIoU``, in percent."""
    return DENSE[data][1] if data in DENSE else "top1"
