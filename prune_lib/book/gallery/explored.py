"""What the explorer of JupyterLab shows of the committed ResNet-20, and what it looks up where there are no images."""

from functools import lru_cache

from ..explorer import subject
from ..figures import charts
from ..figures.looks import look
from .sources import Made, Sources, about_set, run_of

SPARSITIES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
SHARE = subject.BEGIN  # where its slider begins
TESTED = 200  # test images


@lru_cache(maxsize=2)
def trained(sources: Sources) -> subject.Subject:
    return subject.make_subject(data="cifar10", data_dir=sources.data_dir or None, images=TESTED)


def explorer_curves(sources: Sources) -> Made:
    """What the explorer's sparsity slider shows, for all criteria and both ways to spread it."""
    of = trained(sources)
    found = {
        spread: {c: [[s, value] for s, value in line] for c, line in subject.curves(of, SPARSITIES, spread).items()}
        for spread in subject.SPREADS
    }
    points = {c: [(s, value) for s, value in line] for c, line in found[subject.SPREADS[0]].items()}
    shows = (
        f"Test top-1 of a trained ResNet-20 as pruned, not trained on, over {TESTED} test images of CIFAR-10: filters "
        "that go are the lowest by each criterion, the same share in each layer."
    )
    figure = charts.scatter(points, "share of each layer's filters that goes", "top-1 (%)", "ResNet-20, as pruned")
    data = about_set(of.data, f"the first {TESTED // 10} test images of each class; {subject.SEEN} training images")
    scores = {c: {conv: values.tolist() for conv, values in subject.score(of, c).items()} for c in subject.OFFERED}
    numbers = {"full": of.accuracy, "curves": found, "scores": scores}
    return Made(figure, shows, data, [run_of("full", *subject.COMMITTED)[1]], numbers)


def explorer_gradcam(sources: Sources) -> Made:
    """What the explorer shows below its sparsity slider."""
    of = trained(sources)
    pruned = subject.prune(of, "cdp", SHARE)
    images, pixels, labels = of.batch(6)
    networks = {"full": of.model, f"CDP, -{SHARE:.0%}": pruned.model}
    looks = look(networks, of.arch.cam_layer, images, labels, pixels, of.data.classes)
    shows = (
        "Grad-CAM of a trained ResNet-20 and of the same without those of its filters that CDP scores lowest, "
        f"{SHARE:.0%} of each layer, not trained on: {pruned.accuracy:.1f} % of {TESTED} test images are right, with "
        f"all filters {of.accuracy:.1f} %."
    )
    data = about_set(of.data, "the first test image of six classes")
    return Made(looks.figure(range(6)), shows, data, [run_of("full", *subject.COMMITTED)[1]], looks.found())
