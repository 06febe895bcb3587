"""The process that trains on: reads a folder, writes its answer there, tells of progress on stdout.

One JSON object a line: {"progress": [done, total]}, at last {"outcome": {...}} or {"error": "..."}.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

INSTALL = "pip install 'tensorflow-model-optimization==0.8.*' 'tf-keras==2.21.*'"


def main(folder: Path) -> int:
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes where warnings go

    def tell(**message) -> None:
        print(json.dumps(message), file=channel)

    def leave(*_: object) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    signal.signal(signal.SIGTERM, leave)  # the caller may have got it too, and be gone
    try:
        try:
            from export.retrain.training import Data, train_on
        except Exception as error:  # missing, or broken in whatever way
            tell(error=f"TensorFlow Model Optimization cannot be imported ({error}): {INSTALL}")
            return 1
        with np.load(folder / "weights.npz", allow_pickle=False) as archive:
            weights = dict(archive)
        arrays = {
            name: np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in Data.__annotations__
        }
        chosen, outcome = train_on(
            json.loads((folder / "model.json").read_text(encoding="utf-8")),
            weights,
            Data(**arrays),
            json.loads((folder / "settings.json").read_text(encoding="utf-8")),
            lambda done, total: tell(progress=[done, total]),
        )
        np.savez(folder / "trained.npz", allow_pickle=False, **chosen)
        tell(outcome=outcome)
    except BrokenPipeError:  # nobody listens: the caller is gone, and cannot tidy up
        leave()
    except Exception as error:
        tell(error=" ".join(f"{type(error).__name__}: {error}".split())[:500])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
