"""A row becomes a record: training, running once, the queue, and the weights that are kept."""

from ..system.faces import lazily

_NAMES = {
    "run": "runner",
    "network": "runner",
    "Run": "records",
    "find": "records",
    "best_record": "records",
    "unfinished": "records",
    "train": "training",
    "evaluate": "training",
    "inspect": "inspection",
    "load": "kept",
    "evaluate_weights": "given",
    "score": "scoring",
    "select": "scores",
    "read_scores": "scores",
    "changed": "settings",
    "changed_rows": "settings",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
