"""What a pruning method is: three hooks around one training run. A paper overrides what differs."""

from torch import nn


class Method:
    """The dense method: trains the network as it is."""

    def prepare(self, model: nn.Module) -> nn.Module:
        """Change the freshly built network before its optimizer exists."""
        return model

    def on_epoch(self, model: nn.Module, epoch: int, epochs: int) -> dict[str, float]:
        """Called before training epoch ``epoch`` (from 0) of ``epochs``; returns figures for that epoch's curve."""
        return {}

    def export(self, model: nn.Module) -> nn.Module:
        """A plain compact network with the same outputs, independent of ``model``."""
        from .reparam import plain

        return plain(model)
