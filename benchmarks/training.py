"""The training engine beside a loop that anybody would write; and DCFF's fused step beside the plain networks'.

    python benchmarks/training.py [--steps N] [--batch B] [--nets …]

The straightforward loop is a DataLoader over PIL images with torchvision's crop, flip and normalisation, and a plain
step in float32. The engine does what ``runs.training`` does: batched augmentation, channels last, bf16 where the
processor multiplies it, and no number read in a step. Steps of both take turns. Then three steps on the same batch, in
float32 and without data work: DCFF's fused network, its plain compact one and the full one, of the published rates.
"""

import argparse

import torch
import torch.nn.functional as F
from timing import in_turn, machine
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from prune_lib.nets import ARCHS, build
from prune_lib.papers import get_row
from prune_lib.papers.dcff import DCFF
from prune_lib.system import pick_device, pick_precision
from prune_lib.system.device import keep_freed_memory
from prune_lib.tasks.images import ImageSet, Split

CONSTANTS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


class Pictures(Dataset):
    """CIFAR-10 as torchvision gives it: PIL images, transformed one by one."""

    transform = transforms.Compose([
        transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(*CONSTANTS),
    ])  # fmt: skip

    def __init__(self, split: Split):
        self.pictures, self.labels = [to_pil_image(image) for image in split.images], split.labels.tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(self.pictures[index]), self.labels[index]


def noise(images: int) -> ImageSet:
    """Images of noise in the shape of CIFAR-10's, so that no data is needed."""
    some = Split(torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (images,)))
    none = some.take(torch.arange(0))
    return ImageSet("noise", tuple("0123456789"), *CONSTANTS, some, none, none, "", flip=True, pad=4)


def stepper(model, batches, precision: str, channels_last: bool, read_loss: bool):
    """A function that makes one training step of ``model`` on the next of ``batches``, which never end."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.train().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step():
        images, labels = next(batches)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item() if read_loss else None

    return step


def forever(make):
    while True:
        yield from make()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="of each contestant (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images in a step (default: %(default)s)")
    parser.add_argument("--dcff-batch", type=int, default=256, help="in the steps of DCFF (the recipe's: %(default)s)")
    parser.add_argument("--nets", nargs="+", default=["vgg16", "resnet56", "resnet110", "googlenet"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    precision, data = pick_precision(pick_device("cpu")), noise(max(20 * args.batch, args.dcff_batch))
    print(f"{machine()}, batches of {args.batch}")

    pictures, generator = Pictures(data.train), torch.Generator().manual_seed(0)
    loader = forever(lambda: iter(DataLoader(pictures, args.batch, shuffle=True, drop_last=True)))
    batched = forever(lambda: data.batches(args.batch, generator))
    epochs = {
        "PIL": lambda: sum(len(y) for _, y in DataLoader(pictures, args.batch, shuffle=True)),
        "batched": lambda: sum(len(y) for _, y in data.batches(args.batch, generator)),
    }
    seconds = in_turn(epochs, args.steps)
    rates = {name: len(pictures) / value for name, value in seconds.items()}
    print(
        f"crop, flip, normalise: {rates['PIL']:,.0f} img/s with PIL, {rates['batched']:,.0f} batched: "
        f"{rates['batched'] / rates['PIL']:.0f} times"
    )
    for net in args.nets:
        straightforward = stepper(build(net), loader, "fp32", False, True)
        engine = stepper(build(net), batched, precision, True, False)
        seconds = in_turn({"loop": straightforward, "engine": engine}, args.steps)
        rates = {name: args.batch / value for name, value in seconds.items()}
        print(
            f"{net}, full: {rates['loop']:,.0f} img/s straightforward, {rates['engine']:,.0f} here ({precision}): "
            f"{rates['engine'] / rates['loop']:.2f} times"
        )
    batch = next(data.batches(args.dcff_batch, generator))
    same = forever(lambda: iter([batch]))
    for net in args.nets:
        widths, arch = get_row(f"dcff/cifar10/{net}").widths, ARCHS[net]
        method = DCFF.for_arch(arch)
        fused = method.prepare(build(net, widths))
        method.on_epoch(fused, 1, 300)  # as in all epochs but the first
        contestants = {"full": build(net), "compact": build(net, widths), "fused": fused}
        seconds = in_turn(
            {name: stepper(model, same, "fp32", True, False) for name, model in contestants.items()}, args.steps
        )
        print(
            f"{net}, DCFF in fp32: a fused step takes {seconds['fused'] / seconds['compact']:.3f} of a compact one, "
            f"a full step {seconds['full'] / seconds['fused']:.2f} of a fused one"
        )


if __name__ == "__main__":
    main()
