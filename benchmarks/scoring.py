"""Scoring filters beside the plain definitions: DCFF, CDP and CFDP.

    python benchmarks/scoring.py [--rounds N]

DCFF: the scores of all convs of VGG-16 in float64, beside the same with the C x C x C tensor of all divergences; its
memory; and what twice the filters cost. CFDP: 128 images of noise at the shapes of VGG-16's maps, beside two loops over
images, channels and blocks with scipy. CDP: gathering, beside the same forward passes without it.
"""

import argparse

import numpy as np
import torch
from timing import extra_memory, in_turn, machine

from prune_lib.nets import ARCHS, build
from prune_lib.nets.hooks import parts
from prune_lib.papers import cdp, cfdp, dcff
from prune_lib.system.device import keep_freed_memory

HEAT = 4.0


def plain_dcff(weight: torch.Tensor) -> torch.Tensor:
    """Equation by equation: the mean over k of KL(P_j || P_k), all three indices at once."""
    p = torch.softmax(-HEAT * torch.cdist(*2 * (weight.flatten(1).double()[None],))[0], dim=1)
    return (p[:, None] * (p[:, None].log() - (p[None] + dcff.EPSILON).log())).sum(2).mean(1)


def plain_cfdp(maps: np.ndarray, alpha: float = cfdp.ALPHA) -> np.ndarray:
    """Map by map and block by block, with scipy's cosine transform and Gaussian."""
    from scipy.fft import dctn
    from scipy.ndimage import gaussian_filter

    side, found = maps.shape[-1], np.zeros(maps.shape[:2])
    for n, channels in enumerate(maps):
        for c, x in enumerate(channels):
            m = np.zeros_like(x)
            for i in range(0, side - 1, 2):
                for j in range(0, side - 1, 2):
                    m[i : i + 2, j : j + 2] = gaussian_filter(dctn(x[i : i + 2, j : j + 2], norm="ortho"), sigma=10)
            found[n, c] = np.linalg.norm(m) * (m > m.mean()).sum() / side**2 + alpha * np.linalg.norm(x)
    return found.mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()  # as every run does
    print(machine())

    model, arch = build("vgg16"), ARCHS["vgg16"]
    weights = [model.get_submodule(conv).weight.detach() for conv in arch.filters]

    def score_all(score):
        return [score(weight) for weight in weights]

    def quick(weight):
        return dcff.importance(weight, HEAT)

    memory = extra_memory(lambda: score_all(quick), first=lambda: quick(weights[0][:8]))
    with_code = extra_memory(lambda: score_all(quick), first=lambda: None)
    seconds = in_turn({"plain": lambda: score_all(plain_dcff), "here": lambda: score_all(quick)}, args.rounds)
    print(
        f"DCFF, all convs of VGG-16: {seconds['plain']:.2f} s plain, {seconds['here']:.3f} s here: "
        f"{seconds['plain'] / seconds['here']:.0f} times as fast; {memory:.0f} MiB of memory, "
        f"{with_code:.0f} with the library code that the first call loads"
    )
    narrow, wide = torch.randn(512, 512, 3, 3), torch.randn(1024, 512, 3, 3)
    seconds = in_turn({"narrow": lambda: quick(narrow), "wide": lambda: quick(wide)}, args.rounds)
    print(f"DCFF, 1024 filters instead of 512: {seconds['wide'] / seconds['narrow']:.1f} times the time")

    shapes = [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    plain_images, images = 2, 128  # the plain loop is linear in images: two of them are timed, and said
    maps = [torch.randn(images, channels, side, side).relu() for channels, side in shapes]
    seconds = in_turn({"here": lambda: [cfdp.importance(m) for m in maps]}, args.rounds)
    few = [m[:plain_images].numpy() for m in maps]
    plain = in_turn({"plain": lambda: [plain_cfdp(m) for m in few]}, 1)["plain"] * images / plain_images
    print(
        f"CFDP, {images} images, {len(shapes)} shapes: {plain:.0f} s plain (from {plain_images} images), "
        f"{seconds['here']:.2f} s here: {plain / seconds['here']:.0f} times as fast"
    )

    for name in ("vgg16_cdp", "resnet56"):
        net, filters = build(name).eval().to(memory_format=torch.channels_last), ARCHS[name].filters
        images = torch.randn(256, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        batches = [(images, torch.zeros(len(images), dtype=torch.int64))]

        def bare(passes, net=net):
            with torch.inference_mode():
                for some in passes:
                    net(some)

        as_gathering = parts(net, images)
        seconds = in_turn(
            {
                "bare": lambda bare=bare, images=images: bare([images]),
                "parts": lambda bare=bare, passes=as_gathering: bare(passes),
                "gather": lambda net=net, filters=filters, batches=batches: cdp.gather(net, filters, batches, 256),
            },
            2 * args.rounds,
        )
        print(
            f"CDP, gathering of {name} from a batch of 256, over the bare forward pass: "
            f"{seconds['gather'] / seconds['bare']:.3f}; over one in parts of {len(as_gathering[0])}: "
            f"{seconds['gather'] / seconds['parts']:.3f}"
        )


if __name__ == "__main__":
    main()
