"""The book's figures of real networks and real data: made by one command, committed small, shown where these are not.

    python -m prune_lib.book.gallery                                   every figure that can be made here
    python -m prune_lib.book.gallery gradcam_resnet20                  this one
    python -m prune_lib.book.gallery gradcam_resnet56 --weights resnet56=FILE

Data is looked for as everywhere: ``--data-dir``, else ``$PRUNE_DATA``. A figure is one function and one line in
``made.FIGURES``; ``figures.committed`` writes and reads it. Images, layer and class are fixed before anything is seen:
the first test images of each class, an arch's ``cam_layer``, the true class.
"""

from ...system.faces import lazily

_NAMES = {"show": "made", "get": "made", "make": "made", "FIGURES": "made", "pair": "pairs"}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
