"""torchvision's networks, traced: what each calls for one image of its own size, or of a few others."""

import difflib
from collections.abc import Iterator
from typing import Any

from ..nets.archs import ARCHS
from ..system.errors import InputError, short
from .ways import Variant

PREFIXES = ("torchvision/", "torchvision.", "torchvision:")
OTHER_SIDES = (224, 256, 299)  # pixels, tried where nothing fits at its own size
FRAMES = 16  # of a clip of video
DETECTED = (800, 800)  # pixels of an image for detection


def variants(
    name: str, image: tuple[int, int] | None = None, classes: int | None = None, others: bool = False
) -> Iterator[Variant]:
    """The network as torchvision builds it, at its own size of images or at ``image``; or at the ``others``.

    Raises:
        InputError: torchvision has no such network, or it cannot be counted at that size.
    """
    bare = known(name)
    model = _model(bare, classes)
    own = image or _size(bare)
    if others:
        yield from _at_other_sizes(bare, model, own)
        return
    kinds = _params(model)
    whole = _variant(bare, model, own, (), kinds)
    yield whole
    if auxiliary := sum(p.numel() for part, p in model.named_parameters() if "aux" in part.lower()):
        left = {**dict.fromkeys(kinds, 0), "convs": sum(kinds[k] for k in kinds if k in COUNTED) - auxiliary}
        layers = [layer for layer in whole.layers if "aux" not in layer.name.lower()]
        yield Variant(("auxiliary heads left out",), layers, masked=False, params=left)


def known(name: str) -> str:
    """A network's name as torchvision has it.

    Raises:
        InputError: it has none of that name.
    """
    import torchvision

    bare = next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)
    names = torchvision.models.list_models()
    if bare.startswith("quantized_") and bare in names:
        raise InputError(f"{bare} counts what {bare.removeprefix('quantized_')} counts; expected that")
    if bare not in names:
        alike = difflib.get_close_matches(bare, [*ARCHS, *names], 3)
        guess = f"; did you mean {' or '.join(alike)}?" if alike else ""
        raise InputError(
            f"unknown network {short(name)}{guess} Expected one of: {' '.join(ARCHS)}; or one of torchvision's"
        )
    return bare


def _at_other_sizes(bare: str, model: Any, own: tuple[int, int]) -> Iterator[Variant]:
    plain = "." not in type(model).__module__.removeprefix("torchvision.models.")  # one image in, one answer out
    for side in OTHER_SIDES if plain else ():
        if (side, side) != own:
            try:
                yield _variant(bare, model, (side, side), (f"{side}x{side} images",), None)
            except InputError:  # its size is fixed
                continue


COUNTED = ("convs", "norms", "biases", "linear")


def _model(name: str, classes: int | None) -> Any:
    import torch
    from torchvision.models import get_model

    options: dict[str, Any] = {"num_classes": classes} if classes else {}
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "transform_input": False}
        options |= {"aux_logits": False} if name == "googlenet" else {}
    module = get_builder_module(name)
    if "detection" in module or "segmentation" in module:
        options["weights_backbone"] = None
    if name.startswith(("fcn_", "deeplabv3_")):
        options["aux_loss"] = True  # as its published weights are
    try:
        real = "detection" in module or name.startswith("regnet")  # which read values while they are built
        with torch.random.fork_rng(devices=[]), torch.device("cpu" if real else "meta"):
            torch.manual_seed(0)
            return get_model(name, weights=None, **options).eval()
    except Exception as error:  # a network that takes no classes, or needs what is not installed
        raise InputError(f"{name}: torchvision does not build it ({str(error).splitlines()[0][:200]})") from None


def get_builder_module(name: str) -> str:
    from torchvision.models import get_model_builder

    return get_model_builder(name).__module__


def _size(name: str) -> tuple[int, int]:
    """Pixels of the images that its published weights are for."""
    from torchvision.models import get_model_weights

    module = get_builder_module(name)
    if "detection" in module:
        return DETECTED
    if "optical_flow" in module:
        return 520, 960
    if "segmentation" in module:
        return 520, 520
    made = next(iter(get_model_weights(name))).transforms()
    side = getattr(made, "crop_size", None) or [224]
    return (side[0], side[-1])


def built(name: str, classes: int | None = None) -> tuple[Any, tuple[Any, ...]]:
    """``(network, inputs)`` of torchvision's by its name: without memory where it can be, and one image of its size.

    Raises:
        InputError: torchvision has no such network.
    """
    bare = known(name)
    model = _model(bare, classes)
    return model, _inputs(bare, model, _size(bare))


def _inputs(name: str, model: Any, image: tuple[int, int]) -> tuple[Any, ...]:
    import torch

    like, module = next(model.parameters()), get_builder_module(name)
    x = torch.zeros(1, 3, *((FRAMES,) if ".video" in module else ()), *image, device=like.device, dtype=like.dtype)
    return ([x[0]],) if "detection" in module else (x, x) if "optical_flow" in module else (x,)


def _variant(
    name: str, model: Any, image: tuple[int, int], changes: tuple[str, ...], params: dict[str, int] | None
) -> Variant:
    from torch.utils.flop_counter import FlopCounterMode

    from .rules import RULES
    from .tracing import trace

    given = _inputs(name, model, image)
    counter = FlopCounterMode(display=False)

    def run() -> None:
        with counter:
            model(*given)

    try:
        kinds = set().union(*(rule.kinds for rule in RULES.values()))
        layers = trace(model, run, kinds)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{name}: cannot be counted on images of {image[0]}x{image[1]} ({reason})") from None
    extra = [("torch's FlopCounterMode, halved", counter.get_total_flops() // 2)]
    return Variant(changes, layers, masked=not changes, params=params, extra=extra, weighed=params is not None)


def _params(model: Any) -> dict[str, int]:
    """Its parameters by kind, those of modules that a forward pass does not call among them."""
    from torch import nn

    kinds = dict.fromkeys((*COUNTED, "statistics", "shortcuts"), 0)
    for name, module in model.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm)
        for part, tensor in module.named_parameters(recurse=False):
            kind = "norms" if norm else "biases" if part.endswith("bias") else "convs"
            kinds["linear" if kind == "convs" and isinstance(module, nn.Linear) else kind] += tensor.numel()
            kinds["shortcuts"] += tensor.numel() if "downsample" in name else 0
        if norm:
            kinds["statistics"] += sum(b.numel() for b in module.buffers(recurse=False) if b.dim())
    return kinds
