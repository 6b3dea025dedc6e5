"""How a training is carried out on a machine. Nothing here is part of what a row's key names."""

from dataclasses import dataclass

from ..system.errors import InputError, short


@dataclass(frozen=True)
class Execution:
    """Precision, memory and speed of a training; its record says what they were.

    Raises:
        InputError: a number that cannot be, by name.
    """

    engine: str = "eager"  # of ``engines.ENGINES``: the same numbers up to rounding
    precision: str | None = None  # of ``system.device.PRECISIONS``; None: see ``pick_precision``
    micro_batch: int = 0  # images passed at once, over which the gradients of a batch add up; 0: all of it
    loss_scale: float = 0.0  # of fp16, fixed (CHEX: 128); 0: found as the training goes
    deterministic: bool = True  # cudnn's; without, it tries its algorithms and takes the fastest

    def __post_init__(self):
        if type(self.micro_batch) is not int or not 0 <= self.micro_batch <= 1_000_000:
            raise InputError(f"micro-batch is {short(self.micro_batch)}; expected a number of images, 0 for all")
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
