"""Networks of other people, pruned to half of their MACs: this library beside Torch-Pruning, one process a network.

    python benchmarks/own_networks.py [--of torchvision timm written] [--models NAME …] [--flops 0.5] [--out FILE.json]

Random weights, drawn so that nothing is hidden (no beta of 0, no branch multiplied by 0). Ours: the call that a reader
makes, its check included; the difference is of the masked and the smaller network's outputs, in float64 where float32
is not enough. Torch-Pruning's: `MagnitudePruner`'s own call on the same network and inputs, with what makes the output
left whole, at the ratio that comes nearest to the target; its network is compared to itself masked (whatever its groups
say makes a pruned channel, and the norms behind, gives zero). Times are processor seconds of one thread.
"""

import argparse
import copy
import inspect
import json
import multiprocessing
import resource
import signal
import time
import warnings
from importlib.metadata import version
from math import ceil
from pathlib import Path

import timm
import torch
import torch_pruning  # noqa: F401
import torchvision
from torch import nn

import prune_lib.anynet.pruning  # noqa: F401
from prune_lib.system.provenance import provenance

SMALL = {"inception_v3": 299, "raft_large": 128, "raft_small": 128}
TIMM = """
resnet18d seresnet18 resnetv2_50 ecaresnet26t skresnet18 resnest14d res2net50_14w_8s hrnet_w18_small dla34
densenet121 vovnet39a ese_vovnet19b_dw regnetx_002 regnety_002 regnetz_b16 mobilenetv2_050 mobilenetv3_small_050
mobilenetv4_conv_small efficientnet_lite0 tf_efficientnetv2_b0 mixnet_s mnasnet_small fbnetc_100 spnasnet_100
ghostnet_050 ghostnetv2_100 hardcorenas_a tinynet_e lcnet_035 rexnet_100 nf_resnet26 dm_nfnet_f0 convnext_atto
convnextv2_atto inception_next_atto repvgg_a0 mobileone_s0 fastvit_t8 efficientvit_b0 efficientformerv2_s0
edgenext_xx_small mobilevit_xxs mobilevitv2_050 vit_tiny_patch16_224 deit_tiny_patch16_224 deit3_small_patch16_224
beit_base_patch16_224 eva02_tiny_patch14_224 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 twins_svt_small
pvt_v2_b0 poolformer_s12 caformer_s18 mixer_s32_224 resmlp_12_224 gmixer_24_224 xcit_nano_12_p16_224 coat_lite_tiny
visformer_tiny levit_128s cait_xxs24_224 davit_tiny focalnet_tiny_srf hiera_tiny_224 maxvit_rmlp_pico_rw_256
coatnet_pico_rw_224 tiny_vit_5m_224 repghostnet_050 starnet_s1
""".split()  # noqa: SIM905


def names(family: str) -> list[str]:
    if family == "torchvision":
        return [n for n in torchvision.models.list_models() if not n.startswith("quantized_")]
    if family == "timm":
        return [f"timm:{name}" for name in TIMM]
    from networks import WRITTEN

    return [f"written:{name}" for name in WRITTEN]


def build(name: str) -> tuple[nn.Module, object]:
    """The network called ``name``, with random weights, and inputs for it."""
    torch.manual_seed(0)
    source, _, called = name.rpartition(":")
    if source == "timm":
        model = timm.create_model(called)
        return model, torch.randn(1, *model.default_cfg["input_size"])
    if source == "written":
        from networks import WRITTEN

        return WRITTEN[called]()
    extra: dict = {}
    if "weights_backbone" in inspect.signature(torchvision.models.get_model_builder(called)).parameters:
        extra["weights_backbone"] = None
    if any(word in called for word in ("rcnn", "fcos", "retinanet")):
        extra |= {"min_size": 256, "max_size": 256}  # else an image becomes 800 pixels wide
    model = torchvision.models.get_model(called, weights=None, **extra)
    kind = type(model).__module__
    side = SMALL.get(called, 224)
    if ".detection." in kind:
        return model, ([torch.rand(3, 256, 256)],)
    if ".video." in kind:
        side = 112 if "18" in called else 224
        return model, torch.randn(1, 3, 16, side, side)
    if ".optical_flow." in kind:
        return model, (torch.randn(1, 3, side, side), torch.randn(1, 3, side, side))
    return model, torch.randn(1, 3, side, side)


def ours(model: nn.Module, inputs: object, flops: float) -> dict:
    import prune_lib
    from prune_lib.anynet.checking import woken

    model = woken(model.eval())
    start = time.process_time()
    try:
        pruned = prune_lib.prune(model, inputs, "l1", flops=flops)
    except prune_lib.InputError as error:
        return {"works": False, "why": str(error), "seconds": time.process_time() - start}
    return {
        "works": True, "seconds": time.process_time() - start, "full_macs": pruned.full_macs, "macs": pruned.macs,
        "full_params": pruned.full_params, "params": pruned.params, "difference": pruned.difference,
        "whole": len(pruned.whole),
    }  # fmt: skip


def theirs(model: nn.Module, inputs: object, flops: float) -> dict:
    """Torch-Pruning's own call at the ratio that leaves ``flops`` of the MACs of layers whose two sides both shrink."""
    import torch_pruning as tp

    from prune_lib.anynet.checking import woken
    from prune_lib.anynet.measuring import macs
    from prune_lib.anynet.structure import OUTPUT, find_structure
    from prune_lib.nets import compare
    from prune_lib.nets.hooks import call, tensors

    model = woken(model.eval())
    hidden = copy.deepcopy(model)
    full = sum(macs(model, inputs)[0].values())
    whole = find_structure(model, inputs).whole
    out = [model.get_submodule(name) for name, why in whole.items() if why == OUTPUT]
    start = time.process_time()
    try:
        pruner = tp.pruner.MagnitudePruner(
            model,
            inputs,
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=1 - flops**0.5,
            ignored_layers=out,
        )
        names = {module: name for name, module in model.named_modules()}
        lost: list[tuple[str, str, list[int]]] = []
        for group in pruner.step(interactive=True):
            for dep, idxs in group:
                module = dep.target.module
                if module in names:
                    kind = "out" if pruner.DG.is_out_channel_pruning_fn(dep.handler) else "in"
                    lost.append((names[module], kind, list(idxs)))
            group.prune()
        seconds = time.process_time() - start
        with torch.no_grad():
            found = tensors(call(model, inputs))
    except Exception as error:  # whatever it may raise
        return {"works": False, "why": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}",
                "seconds": time.process_time() - start}  # fmt: skip
    left = sum(macs(model, inputs)[0].values())
    result = {"works": left < full, "seconds": seconds, "full_macs": full, "macs": left}
    try:
        with torch.no_grad():
            for name, kind, idxs in lost:
                module = hidden.get_submodule(name)
                if kind == "in":
                    continue
                for part in ("weight", "bias", "running_mean"):
                    tensor = getattr(module, part, None)
                    if isinstance(tensor, torch.Tensor):
                        across = getattr(module, "transposed", False) and module.groups == 1 and part == "weight"
                        (tensor.transpose(0, 1) if across else tensor)[idxs] = 0
            result["difference"] = compare.difference(tensors(call(hidden, inputs)), found)
    except Exception as error:
        result["difference"] = None
        result["unmasked"] = f"{type(error).__name__}: {str(error)[:100]}"
    return result


def one(name: str, flops: float, who: str, limit: float, answer) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(limit), ceil(limit) + 5))  # which a busy machine does not shorten
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        model, inputs = build(name)
        answer.send((ours if who == "ours" else theirs)(model, inputs, flops))
    except Exception as error:  # a network that cannot be built, or a fault of ours
        answer.send({"works": False, "why": f"{type(error).__name__}: {str(error)[:200]}"})


def within_limit(name: str, flops: float, who: str, limit: float) -> dict:
    """What ``one`` finds, in a process of its own that ends after ``limit`` seconds of a processor."""
    context = multiprocessing.get_context("fork")  # what was imported is there at once
    answer, theirs_end = context.Pipe(duplex=False)
    process = context.Process(target=one, args=(name, flops, who, limit, theirs_end))
    process.start()
    theirs_end.close()
    try:
        found = answer.recv()
    except EOFError:
        process.join()
        late = process.exitcode == -signal.SIGXCPU
        found = {"works": False, "why": f"no answer in {limit:g} s" if late else "it ended without an answer (memory?)"}
    process.kill()
    process.join()
    return found


def versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm", "torch-pruning"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs="+", default=["torchvision", "timm", "written"])
    parser.add_argument("--models", nargs="+", default=None, metavar="NAME")
    parser.add_argument("--who", nargs="+", default=["ours", "theirs"], choices=["ours", "theirs"])
    parser.add_argument("--flops", type=float, default=0.5, help="share of the MACs to keep (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=60.0, help="processor seconds a network (default: %(default)s)")
    parser.add_argument("--out", help="also write what was found to this file, as JSON; what it has of others stays")
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(args.out) if args.out else None
    before: dict[str, dict] = json.loads(out.read_text())["networks"] if out and out.exists() else {}
    rows: dict[str, dict] = {}
    for name in args.models or [name for family in args.of for name in names(family)]:
        rows[name] = {who: within_limit(name, args.flops, who, args.limit) for who in args.who}
        print(line(name, rows[name]), flush=True)
        if out:
            before[name] = before.get(name, {}) | rows[name]
            about = {
                "flops": args.flops,
                "limit": args.limit,
                "versions": versions(),
                "hardware": provenance(torch.device("cpu"))["hardware"],
            }
            out.write_text(json.dumps(about | {"networks": before}, indent=1) + "\n")
    for who in args.who:
        print(f"{who}: {sum(row[who].get('works', False) for row in rows.values())} of {len(rows)}")


def line(name: str, row: dict) -> str:
    """A network as a line of text."""
    cells = [name]
    for who, found in row.items():
        if not found["works"]:
            cells.append(f"{who}: no ({found.get('why', 'nothing pruned')})")
            continue
        off = found.get("difference")
        cells.append(
            f"{who}: {found['macs'] / found['full_macs']:.1%} of the MACs in {found['seconds']:.1f} s, "
            + ("not compared" if off is None else f"differs by {off:.1e}")
        )
    return " | ".join(cells)


if __name__ == "__main__":
    main()
