"""Latency of the compact networks of DCFF's CIFAR-10 rows beside the full ones, and beside their FLOPs.

    python benchmarks/latency.py [--seconds S] [--batch 1 256] [--device cpu]

What ``prune latency`` prints for one network, for the four rows of the table: full and compact take turns, medians.
"""

import argparse

from timing import machine

from prune_lib.cost.latency import latency
from prune_lib.papers import table_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each network and batch (default: %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 256])
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    args = parser.parse_args()
    print(machine())
    options = {"batches": args.batch, "seconds": args.seconds, "device": args.device}
    for row in table_rows("dcff/cifar10"):
        found = latency(row.arch, row.rates, layout=row.layout, **options)
        times = [
            f"{each['ratio']:.2f} times as fast at batch {each['batch']} "
            f"({each['full_ms']:.1f} to {each['compact_ms']:.1f} ms)"
            for each in found["results"]
        ]
        print(f"{row.title}: {found['flops_ratio']:.2f} times fewer FLOPs, {', '.join(times)}")


if __name__ == "__main__":
    main()
