"""What other people's tools put before and beside the names of a network's tensors."""

from collections.abc import Sequence

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep a state dict
LEFTOVERS = ("total_ops", "total_params", "n_averaged")  # buffers that thop, and averaging, leave behind
INSIDE = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # wrappers' names, anywhere in a name
AROUND = ("module", "model", "net", "network")  # what wraps a whole network, if all names begin with it

INERT = (  # what lies beside the weights; none of it is needed, and none of it is run
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", "argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath"),
    *(f"datetime.{name}" for name in ("datetime", "date", "timedelta", "timezone")),
)


def bare(names: Sequence[str]) -> list[str]:
    """Names without what wrappers put before them: compiled, parallel, averaged, or in a training module."""
    names = [".".join(part for part in name.split(".") if part not in INSIDE) for name in names]
    names = [name.removeprefix("module.") for name in names]
    while names and any(all(name.startswith(f"{around}.") for name in names) for around in AROUND):
        names = [name.partition(".")[2] for name in names]
    return names
