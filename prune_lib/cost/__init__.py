"""What a network costs: params, FLOPs under a named counting rule, time; and which way of counting prints a figure."""

from ..system.faces import lazily

_NAMES = {
    "DEFAULT_RULE": "rules",
    "Printed": "printed",
    "prints_like": "printed",
    "check": "checking",
    "RULES": "rules",
    "Rule": "rules",
    "rule_called": "counting",
    "COUNTERS": "counters",
    "compare": "comparing",
    "compared": "comparing",
    "Cost": "counting",
    "cost": "counting",
    "costs": "counting",
    "count": "counting",
    "masked_flops": "counting",
    "terms": "counting",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, _NAMES)
