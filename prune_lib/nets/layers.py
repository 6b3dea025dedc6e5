"""What a network calls, layer by layer, as plain arithmetic: kinds, channels and the sizes of maps, without tensors.

A ``Plan`` is told what a network's ``forward`` does and notes each call; ``plans`` does so for every architecture.
"""

import math
from dataclasses import dataclass, field

Shape = tuple[int, ...]  # of a tensor: examples, channels, height, width


@dataclass(frozen=True)
class Layer:
    """One call of one layer: all that a counting rule may look at."""

    name: str  # of the module
    kind: str  # torch's name for its class
    x: Shape  # of its input
    y: Shape  # of its output
    inputs: int = 0  # channels or features that it reads
    outputs: int = 0
    kernel: Shape = ()
    groups: int = 1
    bias: bool = False
    affine: bool = False  # a norm that has a scale and a shift
    mode: str = ""  # of an upsampling
    dim: int = 1  # along which a softmax sums to 1
    nonzero: int | None = None  # of its weights; None: the weights are not known, and none is taken for zero

    @property
    def weights(self) -> int:
        """Numbers in its weight tensor."""
        return self.inputs // self.groups * self.outputs * math.prod(self.kernel)

    @property
    def read(self) -> int:
        """Numbers in its input."""
        return math.prod(self.x)

    @property
    def written(self) -> int:
        """Numbers in its output."""
        return math.prod(self.y)

    def tensors(self) -> dict[str, Shape]:
        """``{name in the state dict: shape}`` of its parameters and buffers."""
        shapes: dict[str, Shape] = {}
        if self.kernel or self.kind == "Linear":
            crossed = self.kind.startswith("ConvTranspose")
            first, second = (self.inputs, self.outputs) if crossed else (self.outputs, self.inputs)
            shapes["weight"] = (first, second // self.groups, *self.kernel)
            if self.bias:
                shapes["bias"] = (self.outputs,)
        elif self.affine:
            shapes |= dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (self.x[1],))
            shapes["num_batches_tracked"] = ()
        return {f"{self.name}.{key}": shape for key, shape in shapes.items()}


@dataclass
class Plan:
    """The layers that a network calls, in their order. Each method takes a shape ``x`` and gives its output's."""

    layers: list[Layer] = field(default_factory=list)

    @property
    def params(self) -> int:
        """Parameters: of a layer that is called twice once."""
        names = ("weight", "bias")
        return sum(math.prod(shape) for key, shape in self.tensors().items() if key.rsplit(".", 1)[-1] in names)

    def tensors(self) -> dict[str, Shape]:
        """``{name in the state dict: shape}`` of all layers."""
        return {key: shape for layer in self.layers for key, shape in layer.tensors().items()}

    def conv(
        self, name: str, x: Shape, filters: int, kernel: int = 1, stride: int = 1, padding: int | None = None,
        groups: int = 1, bias: bool = False,
    ) -> Shape:  # fmt: skip
        """A conv of as many dimensions as ``x`` has; ``padding=None`` keeps the size where the stride is 1."""
        pad = kernel // 2 if padding is None else padding
        y = (x[0], filters, *((side + 2 * pad - kernel) // stride + 1 for side in x[2:]))
        dims = len(x) - 2
        return self._add(Layer(name, f"Conv{dims}d", x, y, x[1], filters, (kernel,) * dims, groups, bias))

    def transposed(self, name: str, x: Shape, filters: int, kernel: int, padding: int = 0, bias: bool = False) -> Shape:
        """A transposed conv of stride 2."""
        y = (x[0], filters, *((side - 1) * 2 - 2 * padding + kernel for side in x[2:]))
        return self._add(Layer(name, "ConvTranspose2d", x, y, x[1], filters, (kernel, kernel), bias=bias))

    def linear(self, name: str, x: Shape, outputs: int) -> Shape:
        return self._add(Layer(name, "Linear", x, (*x[:-1], outputs), x[-1], outputs, bias=True))

    def norm(self, name: str, x: Shape) -> Shape:
        return self._add(Layer(name, "BatchNorm2d" if len(x) == 4 else "BatchNorm1d", x, x, affine=True))

    def relu(self, name: str, x: Shape, kind: str = "ReLU") -> Shape:
        return self._add(Layer(name, kind, x, x))

    def pool(self, name: str, x: Shape, kernel: int, stride: int, padding: int = 0, kind: str = "MaxPool2d") -> Shape:
        y = (*x[:2], *((side + 2 * padding - kernel) // stride + 1 for side in x[2:]))
        return self._add(Layer(name, kind, x, y))

    def global_pool(self, name: str, x: Shape) -> Shape:
        """An adaptive average of whole maps."""
        return self._add(Layer(name, "AdaptiveAvgPool2d", x, (*x[:2], 1, 1)))

    def conv_norm_relu(self, names: tuple[str, str, str], x: Shape, filters: int, *args, **options) -> Shape:
        conv, norm, relu = names
        return self.relu(relu, self.norm(norm, self.conv(conv, x, filters, *args, **options)))

    def _add(self, layer: Layer) -> Shape:
        self.layers.append(layer)
        return layer.y
