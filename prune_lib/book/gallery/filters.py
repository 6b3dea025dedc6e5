"""Filters of a trained ResNet-20: the best and the worst, how near they are, whether their ranks can be relied on."""

import torch
from torch import Tensor

from ...nets import arch_of
from ...papers import dcff, hrank
from ...papers.method import Start
from ..explorer import pictures
from ..explorer.subject import COMMITTED, SEEN, Subject
from ..figures import charts
from .explored import trained
from .sources import Made, Sources, about_set, cifar10, run_of


def filters_resnet20(sources: Sources) -> Made:
    """The best and the worst filters of a conv by CDP's score, with their answers to one image."""
    of = trained(sources)
    conv, each = "layer2.0.conv1", 12
    figure, scores = _best_and_worst(of, conv, "cdp", image=3, each=each)
    shows = (
        f"The {each} filters of {conv} with the highest score by CDP and the {each} with the lowest: the mean of their "
        "weights over their inputs (grey is 0), and below it what each answers to the first test image of a cat. The "
        "ResNet-20 of the arena, trained on CIFAR-10 for 18 epochs."
    )
    data = about_set(of.data, f"{SEEN} training images for the scores, the first test image of class cat")
    return Made(figure, shows, data, [run_of("full", *COMMITTED)[1]], {"highest": scores[0], "lowest": scores[-1]})


def _best_and_worst(of: Subject, conv: str, criterion: str, image: int, each: int):
    """A labelled figure of the best and the worst filters, and all scores from the highest to the lowest."""
    scores, order, answers = pictures.answers(of, conv, criterion, image)
    weights, answered = pictures.kernels(of, conv, order), pictures.heat(answers / answers.amax().clamp_min(1e-12))
    best, worst = slice(0, each), slice(len(order) - each, None)
    lines = {
        "best:\nweights": weights[best], "their\nanswers": answered[best],
        "worst:\nweights": weights[worst], "their\nanswers ": answered[worst],
    }  # fmt: skip
    return charts.tiles(lines, f"{conv}, {len(order)} filters by {criterion}"), scores.tolist()


def similarity_resnet20(sources: Sources) -> Made:
    """DCFF's proxies of a trained conv at three temperatures."""
    conv = "layer3.1.conv1"
    model, about = run_of("full", *COMMITTED)
    weight: Tensor = model.get_submodule(conv).weight.detach()  # type: ignore[operator, assignment]
    last = dcff.temperature(1, 300)
    named = {}
    sharp = {}
    for heat in (1.0, 3.0, last):
        proxy = dcff.similarity(weight, heat)
        named[f"T = {heat:,.0f}"] = proxy
        sharp[f"{heat:.0f}"] = float((proxy.max(1).values > 0.99).float().mean())
    shows = (
        f"DCFF's proxies P of the {len(weight)} filters of {conv} in a trained ResNet-20: row j is how near filter j "
        "is to every filter. At the schedule's first temperature, 1, a filter is an average of all; at that of its "
        f"second epoch, {last:,.0f}, it is itself alone. Between the two, as at 3, the schedule has nothing."
    )
    return Made(charts.matrices(named), shows, {}, [about], {"rows_of_one_filter": sharp})


def ranks_resnet20(sources: Sources) -> Made:
    """The mean rank of each filter's maps over some images, beside that over others."""
    data, images = cifar10(sources), 256
    dense, about = run_of("full", *COMMITTED)
    means = []
    for half in (0, 1):
        method = hrank.HRank(arch_of("resnet20"), variant="corrected", images=images)
        means.append(method.scores(Start(dense, data, half, "fp32", None)))
    points, found = {}, {}
    for stage, side in (("layer1", 32), ("layer2", 16), ("layer3", 8)):
        pairs = [(means[0][conv], means[1][conv]) for conv in means[0] if conv.startswith(stage)]
        one, other = (torch.cat(of) for of in zip(*pairs, strict=True))
        points[f"{stage}, maps of {side}x{side}"] = list(zip(one.tolist(), other.tolist(), strict=True))
        same = [len({*_half(a)} & {*_half(b)}) / (len(a) // 2) for a, b in pairs]
        found[stage] = {
            "filters": len(one), "mean": float(one.mean()), "most": side,
            "difference": float((one - other).abs().mean()), "same_half": sum(same) / len(same),
        }  # fmt: skip
    shows = (
        f"HRank's score of every filter of a trained ResNet-20 on CIFAR-10, the mean rank of its maps: over {images} "
        "training images, and over as many drawn anew. On the line the two agree."
    )
    about_data = about_set(data, f"twice {images} augmented training images")
    return Made(charts.agree(points, "mean rank", "mean rank, other images"), shows, about_data, [about], found)


def _half(scores: Tensor) -> list[int]:
    return scores.topk(len(scores) // 2).indices.tolist()
