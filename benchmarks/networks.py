"""Small networks written by hand, each with one habit of other people's: what a pruner must follow or say it cannot."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Written(nn.Module):
    """A network whose layers and forward are given."""

    def __init__(self, way, **layers):
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *given, **named):
        return self.way(self, *given, **named)


def conv(i, o, k=3, **options):
    return nn.Conv2d(i, o, k, padding=k // 2, **options)


def _around(between=lambda net, x: x, channels=16, read=16, **layers):
    layers = {
        "first": conv(3, channels),
        "bn": nn.BatchNorm2d(channels),
        "last": conv(read, 16),
        "head": nn.Linear(16, 10),
    } | layers
    way = lambda net, x: net.head(net.last(between(net, net.bn(net.first(x)).relu())).relu().mean((2, 3)))  # noqa: E731
    return Written(way, **layers), X


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _attention(fused: bool):
    def way(net, x):
        b, n, _ = x.shape
        q, k, v = net.qkv(net.norm(x)).view(b, n, 3, -1, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v) if fused else (q @ k.transpose(-2, -1) * 8**-0.5).softmax(-1) @ v
        x = x + net.proj(y.transpose(1, 2).flatten(2))
        return net.head(net.fc2(F.gelu(net.fc1(x))).mean(1))

    layers = {"norm": nn.LayerNorm(32), "qkv": nn.Linear(32, 96), "proj": nn.Linear(32, 32), "fc1": nn.Linear(32, 64),
              "fc2": nn.Linear(64, 32), "head": nn.Linear(32, 10)}  # fmt: skip
    return Written(way, **layers), torch.randn(2, 9, 32)


def _c2f(by_size: bool):
    def between(net, x):
        parts = list(net.cv1(x).split((16, 16), 1) if by_size else net.cv1(x).chunk(2, 1))
        parts.append(net.m(parts[-1]).relu())
        return net.cv2(torch.cat(parts, 1))

    return _around(between, cv1=conv(16, 32, 1), m=conv(16, 16), cv2=conv(48, 16, 1))


def _shuffle(net, x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _context(net, x):
    weights = net.a(x).flatten(2).softmax(-1)
    return x + net.b(torch.einsum("ncp,nop->nc", x.flatten(2), weights)[..., None, None])


def _conv1d():
    way = lambda net, x: net.head(net.two(net.bn(net.one(x)).relu()).relu().mean(-1))  # noqa: E731
    return Written(
        way, one=nn.Conv1d(4, 16, 3), bn=nn.BatchNorm1d(16), two=nn.Conv1d(16, 16, 3), head=nn.Linear(16, 5)
    ), torch.randn(2, 4, 40)


def _conv3d():
    way = lambda net, x: net.head(net.two(net.bn(net.one(x)).relu()).relu().mean((2, 3, 4)))  # noqa: E731
    return Written(
        way, one=nn.Conv3d(3, 8, 3), bn=nn.BatchNorm3d(8), two=nn.Conv3d(8, 8, 3), head=nn.Linear(8, 5)
    ), torch.randn(1, 3, 8, 12, 12)


def _einops():
    try:
        from einops import rearrange
    except ImportError:
        return _around(lambda net, x: x.flatten(2).transpose(1, 2).transpose(1, 2).unflatten(2, (32, 32)))
    return _around(lambda net, x: rearrange(rearrange(x, "b c h w -> b (h w) c"), "b (h w) c -> b c h w", h=32))


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


def _outputs(wrap):
    model, x = _around()
    inner = model.way
    model.way = lambda net, x: wrap(inner(net, x))
    return model, x


def _keywords():
    model, x = _around()
    inner = model.way
    model.way = lambda net, pixel_values=None: inner(net, pixel_values)
    return model, {"pixel_values": x}


def _shared():
    block = conv(16, 16)
    return _around(lambda net, x: x + net.block(net.block(x).relu()), block=block)


def _weight_norm():
    return _around(lambda net, x: net.more(x).relu(), more=nn.utils.parametrizations.weight_norm(conv(16, 16)))


WRITTEN = {
    "plain": _around,
    "GroupNorm": lambda: _around(lambda net, x: net.norm(x), norm=nn.GroupNorm(4, 16)),
    "LayerNorm2d inside": lambda: _around(
        lambda net, x: x + net.two(net.one(net.norm(x)).relu()),
        norm=LayerNorm2d(16), one=conv(16, 64, 1), two=conv(64, 16, 1),
    ),
    "InstanceNorm": lambda: _around(lambda net, x: net.norm(x), norm=nn.InstanceNorm2d(16, affine=True)),
    "Conv1d": _conv1d,
    "Conv3d": _conv3d,
    "ConvTranspose": lambda: _around(lambda net, x: net.up(F.max_pool2d(x, 2)), up=nn.ConvTranspose2d(16, 16, 2, 2)),
    "chunk (C2f)": lambda: _c2f(False),
    "split by sizes (C2f)": lambda: _c2f(True),
    "split unevenly": lambda: _around(lambda net, x: torch.cat([net.a(x[:, :4]), x[:, 4:]], 1), a=conv(4, 4)),
    "concatenation": lambda: _around(lambda net, x: torch.cat([x, net.a(x)], 1), read=24, a=conv(16, 8)),
    "pixel shuffle": lambda: _around(lambda net, x: F.pixel_shuffle(x, 2), read=4),
    "channel shuffle": lambda: _around(_shuffle),
    "grouped convolution": lambda: _around(lambda net, x: net.g(x).relu(), g=conv(16, 16, groups=4)),
    "depthwise, multiplied": lambda: _around(lambda net, x: net.g(x).relu(), read=32, g=conv(16, 32, groups=16)),
    "shared module": _shared,
    "weight norm": _weight_norm,
    "einops": _einops,
    "attention": lambda: _attention(False),
    "attention, fused": lambda: _attention(True),
    "squeeze and excitation": lambda: _around(
        lambda net, x: x * net.b(net.a(x.mean((2, 3), keepdim=True)).relu()).sigmoid(),
        a=conv(16, 4, 1), b=conv(4, 16, 1),
    ),
    "a mapping": lambda: _outputs(lambda y: {"logits": y}),
    "a dataclass": lambda: _outputs(Output),
    "keyword inputs": _keywords,
    "PReLU": lambda: _around(lambda net, x: net.act(x), act=nn.PReLU(16)),
    "gated halves": lambda: _around(lambda net, x: F.glu(net.a(x), 1), a=conv(16, 32)),
    "global context": lambda: _around(_context, a=conv(16, 1, 1), b=conv(16, 16, 1)),
    "flatten": lambda: (
        nn.Sequential(conv(3, 8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512, 32), nn.Linear(32, 10)), X
    ),
}  # fmt: skip
