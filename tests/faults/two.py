"""One of two processes that train together, as torchrun starts them: ``python two.py FOLDER [RANK STEP]``.

The process of that rank kills itself after that step of the run; without them both come to the end.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tiny
import torch

from prune_lib.papers.dcff import DCFF
from prune_lib.system import checkpoint, distributed


class Dies(DCFF):
    """DCFF, until the step after which this process is to die."""

    left = -1

    def after_step(self, model):
        super().after_step(model)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, method = Path(sys.argv[1]), Dies(tiny.BANKS)
    if len(sys.argv) > 2 and distributed.rank() == int(sys.argv[2]):
        method.left = int(sys.argv[3])
    history = tiny.fit(tiny.digits(), method, state=folder / "state", save_every=0, precision="fp32")
    (folder / f"{distributed.rank()}.digest").write_text(checkpoint.digest(history.weights["last"]))
