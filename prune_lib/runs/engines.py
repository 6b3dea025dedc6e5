"""Other ways to run a training step than plain PyTorch: CUDA graphs, and kernels that torch.compile has fused.

A CIFAR ResNet's step is so short on a large card that launching its hundreds of kernels takes longer than running them;
as a graph they are launched as one. Norms, ReLUs and sums each read and write all of memory; fused, once for all.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..system.errors import InputError

ENGINES = {
    "eager": "layer by layer",
    "graph": "a step is one CUDA graph, for small networks on a large card",
    "compile": "the same of kernels that torch.compile has fused; on a CPU those without a graph",
}

WARM = 3  # steps before the capture, in which libraries choose their algorithms and the optimizer makes its buffers


class GraphedStep:
    """``step(images, labels)``, replayed from a CUDA graph after its first calls; every call is a real step.

    Batches are copied into tensors of this object, since a graph reads the same memory each time; all else that a step
    reads or writes must stay where it is too. A batch that has not ``size`` images, as an epoch's last, runs as it is.
    Where there are no graphs, as on the CPU, the same copies are made and the step is called: so it is tested.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], None], device: torch.device, size: int):
        self.step, self.device, self.size, self.calls = step, device, size, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.images: Tensor | None = None
        self.labels: Tensor | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        if len(images) != self.size:
            self.step(images, labels)
            return
        if self.images is None or self.labels is None:
            self.images, self.labels = images.clone(memory_format=torch.preserve_format), labels.clone()
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.calls += 1
        if self.device.type != "cuda":
            self.step(self.images, self.labels)
        elif self.graph is not None:
            self.graph.replay()
        elif self.calls <= WARM:
            self._aside(lambda: self.step(self.images, self.labels))  # type: ignore[arg-type]
        else:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # records, and does not run
                self.step(self.images, self.labels)
            self.graph.replay()

    def _aside(self, work: Callable[[], None]) -> None:
        """Run ``work`` on a stream of its own, as a capture asks of what goes before it."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream(self.device).wait_stream(stream)


class CompiledNet:
    """``network(images)`` for training, compiled when it is first called; that takes a minute or two.

    Compiled for batches of ``size`` images: one of another size, as an epoch's last, runs layer by layer.

    Raises:
        InputError: this machine cannot compile, when first called.
    """

    def __init__(self, network: nn.Module, size: int):
        self.network, self.size = network, size
        self.compiled = torch.compile(network, dynamic=False)

    def __call__(self, images: Tensor) -> Tensor:
        if len(images) != self.size:
            return self.network(images)
        from torch._dynamo.exc import BackendCompilerFailed

        try:
            return self.compiled(images)
        except BackendCompilerFailed as error:
            reason = next(line for line in str(error).splitlines() if not line.endswith("raised:"))
            raise InputError(f"engine compile cannot run here: {reason}; expected eager or graph") from error
