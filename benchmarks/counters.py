"""What the field's counters print, by running them: benchmarks/counters.json, network × counter × version -> figure.

    pip install 'prune_lib[counters]'
    python benchmarks/counters.py                 # every counter that is installed, each in a process of its own
    python benchmarks/counters.py --only thop     # one; another version of it that is first on $PYTHONPATH is added

Each counts the same network for one image; what it cannot count is kept as the first line of its error. Figures of
versions that are not installed stay as they were.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from prune_lib.nets import ARCHS, build

FILE = Path(__file__).with_suffix(".json")
OURS = ("resnet20", "resnet56", "vgg16", "vgg16_hrank", "googlenet", "densenet40", "mobilenet_v2", "resnet50")
TORCHVISION = (
    "alexnet", "vgg11", "vgg16_bn", "resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "googlenet",
    "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "squeezenet1_1", "shufflenet_v2_x1_0",
    "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "vit_b_16", "swin_t", "swin_v2_t", "maxvit_t",
    "lraspp_mobilenet_v3_large",
)  # fmt: skip
NETWORKS = (*OURS, *(f"torchvision/{name}" for name in TORCHVISION))


def image_of(name: str) -> tuple[int, ...]:
    """The image that a network is counted for."""
    side = 299 if name.endswith("inception_v3") else 224
    return ARCHS[name].image if name in ARCHS else (3, side, side)


def network(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network as its users build it, and one image of zeros."""
    torch.manual_seed(0)
    x = torch.zeros(1, *image_of(name))
    if name in ARCHS:
        return build(name).eval(), x
    from torchvision.models import get_model

    options = {"init_weights": False} if name.endswith(("googlenet", "inception_v3")) else {}
    options |= {"weights_backbone": None} if "lraspp" in name else {}
    return get_model(name.removeprefix("torchvision/"), weights=None, **options).eval(), x


def fvcore(model, x):
    from fvcore.nn import FlopCountAnalysis

    found = FlopCountAnalysis(model, (x,)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return {"fvcore": found.total()}


def ptflops(model, x):
    from ptflops import get_model_complexity_info

    return {"ptflops": get_model_complexity_info(model, tuple(x.shape[1:]), False, False)[0]}


def flop_counter(model, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(x)
    return {"torch": counter.get_total_flops()}


def torch_pruning(model, x):
    from torch_pruning.utils import count_ops_and_params

    return {"torch-pruning": count_ops_and_params(model, x)[0]}


def calflops(model, x):
    from calflops import calculate_flops

    flops, macs, _ = calculate_flops(model, tuple(x.shape), output_as_string=False, print_results=False)
    return {"calflops": flops, "calflops-macs": macs}


def deepspeed(model, x):
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, macs, _ = get_model_profile(model, tuple(x.shape), print_profile=False, as_string=False)
    return {"deepspeed": flops, "deepspeed-macs": macs}


def torchinfo(model, x):
    from torchinfo import summary

    return {"torchinfo": summary(model, input_data=x, verbose=0, depth=20).total_mult_adds}


def thop(model, x):
    import collections.abc

    collections.Iterable = collections.abc.Iterable  # where versions of 2019 look for it
    from thop import profile

    return {"thop": profile(model, (x,), verbose=False)[0]}


COUNTERS = {  # package -> how it is run
    "torch": flop_counter, "fvcore": fvcore, "ptflops": ptflops, "torch-pruning": torch_pruning, "calflops": calflops,
    "deepspeed": deepspeed, "torchinfo": torchinfo, "thop": thop,
}  # fmt: skip


def measured(package: str, names: list[str]) -> dict[str, dict[str, int | str]]:
    """``{counter: {network: figure, or why there is none}}`` of one package, in this process."""
    found: dict[str, dict[str, int | str]] = {}
    for name in names:
        model, x = network(name)
        try:
            figures = COUNTERS[package](copy.deepcopy(model), x)
        except Exception as error:  # whatever a package raises is what its user sees
            line = f"{type(error).__name__}: {error}".splitlines()[0].partition(" (/")[0][
                :120
            ]  # without a machine's path
            figures = dict.fromkeys(found or {package: 0}, line)
        for counter, figure in figures.items():
            found.setdefault(counter, {})[name] = figure if isinstance(figure, str) else int(figure)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=COUNTERS, help="one package")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), help="some networks")
    parser.add_argument("--print", action="store_true", help="print what one package says, as JSON; write nothing")
    args = parser.parse_args()
    if args.print:
        warnings.simplefilter("ignore")
        out, sys.stdout = sys.stdout, sys.stderr  # some packages talk
        print(json.dumps(measured(args.only, args.networks)), file=out)
        return
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    for package in [args.only] if args.only else COUNTERS:
        try:
            number = version(package)
        except PackageNotFoundError:
            print(f"{package} is not installed; its figures stay as they are")
            continue
        words = [sys.executable, __file__, "--only", package, "--print", "--networks", *args.networks]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for counter, figures in json.loads(done.stdout.splitlines()[-1]).items():
            kept.setdefault(counter, {}).setdefault(number.partition("+")[0], {}).update(figures)
            print(f"{counter} {number}: {len(figures)} networks")
        ordered = {counter: dict(sorted(versions.items())) for counter, versions in sorted(kept.items())}
        FILE.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    main()
