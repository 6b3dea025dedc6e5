"""Trained compact networks for ``torch.hub``: ``torch.hub.load(REPOSITORY, "compact", "dcff/cifar10/resnet56")``."""

dependencies = ["torch", "torchvision", "numpy", "yaml", "tqdm", "safetensors"]


def compact(row: str, budget: str | None = None, seed: int | None = None, protocol: str | None = None):
    """The trained compact network of a row, such as "filterexpo/resnet20-study/explore"; see ``prune_lib.load``."""
    from prune_lib import load

    return load(row, budget, seed, protocol)
