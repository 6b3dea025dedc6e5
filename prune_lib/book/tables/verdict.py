"""Verdicts, computed from printed figures and measured records, and never stored.

A count either prints exactly as the paper printed it or it does not. An accuracy is judged only by ``paper`` records,
by the papers' own protocol (the epoch best on test), against a tolerance that the row fixed beforehand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from ...cost.printed import Printed

REPRODUCED = "reproduced"  # the mean is at least the reported figure less the tolerance
WITHIN_NOISE = "within noise"  # it is below that, but by no more than chance explains
NOT_REPRODUCED = "not reproduced"
NOT_ATTEMPTED = "not attempted"  # no finished run of the full recipe
NOT_PUBLIC = "not public"  # the source does not say what the network is
INCONSISTENT = "source inconsistent"  # the source's own figures do not follow from its own spec
EXACT = "exact"  # every count prints as the source prints it
SUPPORTED, CONTRADICTED = "supported here", "contradicted here"  # of a claim by comparison, at equal recipe
TONES = {  # how a table colours a verdict: the classes ``prune-good`` … of ``book/_static/book.css``
    EXACT: "good", REPRODUCED: "good", WITHIN_NOISE: "fair", NOT_PUBLIC: "fair", NOT_REPRODUCED: "poor",
    INCONSISTENT: "poor", SUPPORTED: "good", CONTRADICTED: "poor",
}  # fmt: skip


@dataclass(frozen=True)
class Accuracy:
    """Measured top-1, AP or mIoU over the seeds, in percent, and the verdict on it."""

    verdict: str
    budget: str | None  # of the records behind the figures
    seeds: tuple[int, ...] = ()
    mean: dict[str, float] | None = None  # protocol -> mean over the seeds, without protocols that the runs do not have
    sd: dict[str, float] | None = None  # protocol -> standard deviation, from two seeds on


def _once(runs: Sequence[dict]) -> list[dict]:
    """One run of each budget and seed, the first to finish: running a seed twice gives no second observation."""
    by_end = sorted(runs, key=lambda run: str(run.get("provenance", {}).get("ended", "")), reverse=True)
    return list({(run["budget"], run["seed"]): run for run in by_end}.values())


def judge(reported: str | None, tolerance: float, runs: Sequence[dict], metric: str = "top1") -> Accuracy:
    """Judge the finished ``runs`` of one row at its highest budget; ``reported`` is a text like ``93.47%``.

    Chance is two standard errors, of the mean over the seeds and of testing on a limited number of images together. AP
    and mIoU are no shares of correct images, so for them only the former counts.
    """
    from ...papers.rows import BUDGETS

    finished = [run for run in runs if run["status"] == "finished"]
    finished = _once(finished)
    if not finished:
        return Accuracy(NOT_ATTEMPTED, None)
    budget = max((run["budget"] for run in finished), key=BUDGETS.index)
    finished = sorted((run for run in finished if run["budget"] == budget), key=lambda run: run["seed"])
    figures = {p: [run["metrics"].get(f"{metric}_{p}") for run in finished] for p in ("last", "selected", "test_best")}
    figures = {protocol: values for protocol, values in figures.items() if None not in values}
    means = {protocol: mean(values) for protocol, values in figures.items()}
    sds = {protocol: stdev(values) for protocol, values in figures.items()} if len(finished) > 1 else None
    verdict = NOT_ATTEMPTED
    if budget == "paper" and reported is not None and "test_best" in means:
        below = Printed.read(reported).number - means["test_best"]
        share, images = means["test_best"] / 100, finished[0]["provenance"]["data"]["test"]
        chance = 2 * math.hypot(
            100 * math.sqrt(share * (1 - share) / images) if metric == "top1" else 0.0,
            sds["test_best"] / math.sqrt(len(finished)) if sds else 0.0,
        )
        verdict = REPRODUCED if below <= tolerance else WITHIN_NOISE if below <= chance else NOT_REPRODUCED
    return Accuracy(verdict, budget, tuple(run["seed"] for run in finished), means, sds)
