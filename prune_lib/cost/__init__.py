"""What a network costs: params, FLOPs under a named counting rule, time."""

from ..system.faces import lazily

_NAMES = {
    "DEFAULT_RULE": "rules",
    "RULES": "rules",
    "Rule": "rules",
    "rule_called": "rules",
    "Cost": "counting",
    "cost": "counting",
    "costs": "counting",
    "count": "counting",
    "masked_flops": "counting",
    "terms": "counting",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
