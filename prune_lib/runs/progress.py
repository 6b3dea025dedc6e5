"""What a training shows of itself while it goes on."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm


class Progress:
    """On a terminal a bar with images a second and the time left; elsewhere a line after each epoch, for a log.

    Args:
        epochs: of the whole training.
        images: that an epoch passes.
        done: images that were passed before this process, if it goes on with a training.
        shown: nothing is shown without.
    """

    def __init__(self, epochs: int, images: int, done: int, shown: bool):
        self.epochs, self.images, self.passed, self.started = epochs, images, 0, time.perf_counter()
        self.left = epochs * images - done
        live = sys.stderr.isatty()
        self.lines = shown and not live
        self.bar = tqdm(total=epochs * images, initial=done, unit="img", mininterval=1.0, disable=not (shown and live))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def say(self, words: str) -> None:
        """A word for as long as there are no figures yet."""
        self.bar.set_postfix_str(words)

    def step(self, images: int) -> None:
        """So many images more were passed."""
        self.passed += images
        self.bar.update(images)

    def begin(self, epoch: int) -> None:
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}")

    def end(self, epoch: int, figures: Mapping[str, float], best: Mapping[str, float]) -> None:
        """An epoch is over.

        Args:
            figures: of this epoch, to be shown by name.
            best: the highest so far.
        """
        words = [f"{name} {value:.4g}" for name, value in figures.items()]
        words += [f"best {name} {value:.4g}" for name, value in best.items()]
        self.bar.set_postfix_str(", ".join(words))
        if self.lines:
            rate = self.passed / (time.perf_counter() - self.started)
            left = (self.left - self.passed) / rate if rate else 0
            said = [f"epoch {epoch + 1}/{self.epochs}", f"{rate:.0f} img/s", f"{_time(left)} left", *words]
            print(", ".join(said), file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    """``48 s``, ``12 min`` or ``3.1 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
