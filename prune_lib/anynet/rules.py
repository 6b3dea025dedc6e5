"""Which rule says what one of torch's operations does to labels of channels. One that has none pins them.

A rule is a function ``rule(to, func, args, kwargs, result)``: it reads the fields of the arguments from ``to``
(``channels.Channels``), ties and pins labels there, and sets the fields of the result. To add one, write the function
and its line in ``RULES``.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from . import elementwise, layers, moving, summing
from .channels import SPREADING, Channels

Rule = Callable[[Channels, Any, tuple, dict, Any], None]
MAPS = re.compile(r"(pool|upsample|grid_sampler|reflection_pad|replication_pad)")
SAME = {  # the result is its first argument, cast, copied or laid out otherwise
    "clone", "_to_copy", "contiguous", "detach", "detach_", "alias", "lift_fresh", "lift_fresh_copy", "native_dropout",
    "_conj", "_reshape_alias_copy", "to", "positive", "resolve_conj", "resolve_neg",
}  # fmt: skip
POINTWISE = {  # those that torch does not mark so
    "_prelu_kernel", "prelu", "where", "masked_fill", "addcmul", "addcdiv", "lerp", "copysign", "rsub", "hardswish",
    "hardsigmoid", "hardtanh", "leaky_relu", "elu", "mish", "softplus", "log_sigmoid_forward", "threshold", "celu",
    "selu", "relu6", "softshrink", "hardshrink", "rrelu_with_noise", "floor_divide", "fmod", "remainder", "polar",
    "isfinite", "nan_to_num", "real", "imag", "complex",
}  # fmt: skip
NEW = {
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros", "new_ones",
    "new_empty", "new_full", "new_empty_strided", "empty_strided", "scalar_tensor", "bernoulli",
}  # fmt: skip
RULES: dict[str, Rule] = {
    **dict.fromkeys(("copy",), elementwise.copied_into),
    **dict.fromkeys(("fill", "zero"), elementwise.filled),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), moving.viewed),
    **dict.fromkeys(
        (
            "permute",
            "transpose",
            "t",
            "numpy_T",
            "squeeze",
            "unsqueeze",
            "movedim",
            "swapaxes",
            "flip",
            "unfold",
            "adjoint",
            "mT",
        ),
        moving.moved,
    ),
    **dict.fromkeys(("view_as_complex",), moving.to_complex),
    **dict.fromkeys(("view_as_real",), moving.from_complex),
    **dict.fromkeys(SPREADING, moving.spread),
    **dict.fromkeys(("slice",), moving.sliced),
    **dict.fromkeys(
        ("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes"),
        moving.split_up,
    ),
    **dict.fromkeys(("select", "unbind"), moving.selected),
    **dict.fromkeys(("cat", "concat"), moving.joined),
    **dict.fromkeys(("stack",), moving.stacked),
    **dict.fromkeys(("constant_pad_nd",), moving.padded),
    **dict.fromkeys(("pixel_shuffle",), moving.shuffled),
    **dict.fromkeys(("pixel_unshuffle",), moving.unshuffled),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), moving.channel_shuffle),
    **dict.fromkeys(("im2col",), moving.columns),
    **dict.fromkeys(
        (
            "roll",
            "index_select",
            "gather",
            "index",
            "_unsafe_index",
            "index_put",
            "take_along_dim",
            "masked_select",
            "sort",
            "topk",
            "kthvalue",
            "cummax",
        ),
        moving.by_number,
    ),
    **dict.fromkeys(
        ("scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_reduce"), moving.put
    ),
    **dict.fromkeys(("embedding",), moving.embedded),
    **dict.fromkeys(("glu",), moving.gated),
    **dict.fromkeys(
        (
            "sum",
            "mean",
            "amax",
            "amin",
            "var",
            "std",
            "var_mean",
            "std_mean",
            "norm",
            "linalg_vector_norm",
            "logsumexp",
            "any",
            "count_nonzero",
            "all",
            "argmax",
            "argmin",
            "prod",
            "max",
            "min",
            "median",
            "cumsum",
            "cumprod",
            "_softmax",
            "_log_softmax",
            "softmax",
            "log_softmax",
            "_safe_softmax",
            "aminmax",
            "mode",
            "logcumsumexp",
            "nansum",
            "nanmean",
            "quantile",
        ),
        summing.reduced,
    ),
    **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), summing.transformed),
    **dict.fromkeys(
        ("mm", "bmm", "dot", "mv", "addmm", "addmv", "baddbmm", "addbmm", "linear", "matmul", "_addmm_activation"),
        summing.product,
    ),
    **dict.fromkeys(("_sparse_addmm",), summing.product),
    **dict.fromkeys(("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"), layers.convolution),
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "cudnn_batch_norm",
            "miopen_batch_norm",
            "_batch_norm_with_update",
            "_batch_norm_no_update",
            "batch_norm",
        ),
        layers.batch_norm,
    ),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm", "rms_norm"), layers.layer_norm),
    **dict.fromkeys(("native_group_norm",), layers.group_norm),
    **dict.fromkeys(("roi_align", "_roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"), layers.regions),
    **dict.fromkeys(("deform_conv2d",), layers.deformed),
}


class _Nothing:
    @staticmethod
    def overloads() -> tuple[str, ...]:
        return ()


@cache
def rule_of(func: Any) -> Rule:
    """The rule of one of torch's operations; in place or not is one rule."""
    name, tags = func.overloadpacket.__name__, set(func.tags)
    if name.endswith("_") and not name.startswith("__"):
        name = name[:-1]
        tags |= {tag for way in getattr(torch.ops.aten, name, _Nothing).overloads() for tag in
                 getattr(getattr(torch.ops.aten, name), way).tags}  # fmt: skip
    if name in RULES:
        return RULES[name]
    if name in SAME:
        return elementwise.same
    if name in NEW:
        return elementwise.new
    if torch.Tag.pointwise in tags or name in POINTWISE:
        return elementwise.pointwise
    if "scaled_dot_product" in name:
        return summing.attention
    if MAPS.search(name):
        return layers.over_maps
    return elementwise.unknown
