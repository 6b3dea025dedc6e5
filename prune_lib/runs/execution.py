"""How a training is carried out on a machine. Nothing here is part of what a row's key names."""

from dataclasses import dataclass

from ..system.errors import InputError, short

RANGES = {  # as in ``papers.recipe``: what the numbers and words may be
    "micro_batch": "0 … 1000000",
    "loss_scale": "0 … 2^24",
    "engine": "one of: eager graph compile",
    "precision": "one of: fp32 tf32 bf16 fp16",
}


@dataclass(frozen=True)
class Execution:
    """Precision, memory and speed of a training; its record says what they were.

    Raises:
        InputError: a number that cannot be, by name.
    """

    engine: str = "eager"  # layer by layer, graph: a step as one CUDA graph, or compile: that, of fused kernels
    precision: str | None = None  # fp32, tf32, bf16 or fp16; none: bf16 where the device multiplies it, else fp32
    micro_batch: int = 0  # images passed at once, over which the gradients of a batch add up; 0: all of it
    loss_scale: float = 0.0  # of fp16, fixed (CHEX: 128); 0: found as the training goes
    deterministic: bool = True  # cudnn's; without, it tries its algorithms and takes the fastest

    def __post_init__(self):
        for name in ("engine", "precision"):
            value, known = getattr(self, name), RANGES[name].split()[2:]
            if value is not None and value not in known:
                raise InputError(f"unknown {name} {short(value)}; expected one of: {' '.join(known)}")
        if type(self.micro_batch) is not int or not 0 <= self.micro_batch <= 1_000_000:
            raise InputError(f"micro-batch is {short(self.micro_batch)}; expected 1 … 1000000 images, 0 for all")
        if not 0 <= self.loss_scale <= 2**24:
            raise InputError(
                f"loss-scale is {short(self.loss_scale)}; expected a factor up to 2^24, or 0 to have it found"
            )
        if self.loss_scale and self.precision != "fp16":
            raise InputError(f"loss-scale {self.loss_scale:g} is for precision fp16; expected that too")

    def identity(self) -> str:
        """What a state must have in common with this, besides the precision, to be resumed from."""
        parts = (("micro-batch", self.micro_batch), ("loss-scale", self.loss_scale))
        return "".join(f" {name} {value:g}" for name, value in parts if value)

    def facts(self) -> dict:
        """For a record: what it does not say elsewhere."""
        facts: dict = {"cudnn_deterministic": self.deterministic}
        if self.micro_batch:
            facts |= {
                "micro_batch": self.micro_batch,
                "batch_norm": "of micro-batches, not of whole batches",
            }
        if self.precision == "fp16":
            facts["loss_scale"] = self.loss_scale or "dynamic"
        return facts
