"""A row: one line of a paper's table, as data. Rows live in ``papers/*.yaml`` and are called ``paper/table/row``."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from ..cost.printed import PRINTED
from ..cost.rules import RULES
from ..cost.ways import Subject, family
from ..nets import ARCHS, arch_of, check_widths, layout_of, read_spec
from ..nets.spec import Widths
from ..system.errors import InputError, short
from ..system.reading import check_name, from_yaml
from ..system.words import to_words
from ..tasks import metric_of
from .checklist import ITEMS
from .methods import CHOOSES_WIDTHS, FROM_FRESH, METHODS, PRUNES_TRAINED
from .recipe import FAST, Recipe, tiny

BUDGETS = ("smoke", "tiny", "short", "fast", "paper")  # from seconds on embedded digits to the whole published recipe
TRIALS = ("smoke", "tiny")  # which show that a line runs; any machine leaves such records
WRITTEN = tuple(budget for budget in BUDGETS if budget != "tiny")  # in the YAML; ``tiny`` is made from the highest
COUNTS = ("flops", "flops_cut", "params", "params_cut", "base_flops", "base_params")
RULE_NAMES = tuple(RULES)
METRICS = ("top1", "top5", "base_top1", "AP", "AP50", "AP75", "APS", "APM", "APL", "mIoU")


OWN = "own"  # what the ids of users' own rows begin with; no table has them, so nothing of theirs is judged


@dataclass(frozen=True)
class Row:
    id: str  # paper/table/row
    title: str
    dataset: str  # that the reported accuracy is of
    arch: str  # empty: a network that this library does not have
    rates: str | None  # as published; None: nothing is pruned, or ``unknown`` says why there is no list
    layout: str  # whose rate layout
    rule: str  # under which the paper's FLOPs are counted
    reported: Mapping[str, str]  # figures as printed
    source: str
    unknown: str = ""  # why the compact network cannot be rebuilt; empty: it can
    method: Mapping[str, str] = field(default_factory=dict)  # name and options; empty: it is not trained here
    start: str = ""  # the dense row whose trained network the method prunes
    recipes: Mapping[str, Recipe] = field(default_factory=dict)  # budget -> recipe
    tolerance: float = 0.0  # percentage points of its metric, fixed before anything was run
    note: str = ""
    given: Widths | None = None  # a user's own widths instead of a rate list
    settings: Mapping[str, Any] = field(default_factory=dict)  # what a user set otherwise: of recipe, method, execution
    of: str = ""  # the row of a paper that a user's own row is made from; empty: it is a paper's itself
    runs_of: str = ""  # the row whose runs are this one's too: one training, of which it has another figure
    judged: str = ""  # that figure, at epochs chosen by its data's metric; empty: that metric itself

    @property
    def table(self) -> str:
        return self.id.rsplit("/", 1)[0]

    @property
    def data(self) -> str:
        """The data set of its highest budget; empty if the row is not trained here."""
        return next((self.recipes[budget].data for budget in reversed(BUDGETS) if budget in self.recipes), "")

    @property
    def metric(self) -> str:
        """What its accuracy is: ``top1``, or ``AP``, ``segm_AP`` or ``mIoU`` where that is its data's; in percent."""
        return self.judged or metric_of(self.data)

    @property
    def printed(self) -> str | None:
        """The reported figure that its metric is held against, as printed; a table of masks heads it AP."""
        return self.reported.get(self.metric.removeprefix("segm_"))

    @property
    def runs(self) -> str:
        """The name under which its runs and records are kept."""
        return self.runs_of or self.id

    @property
    def pruned(self) -> bool:
        """Whether anything is pruned; a dense row is its own full network."""
        return self.rates is not None or self.given is not None or bool(self.unknown)

    @property
    def widths(self) -> Widths:
        """The filters that each conv keeps.

        Raises:
            InputError: they are not public, or the network is not in this library.
        """
        if self.unknown:
            raise InputError(f"{self.id} cannot be rebuilt: {self.unknown}")
        if self.given is not None:
            return check_widths(self.arch, self.given)
        return read_spec(self.arch, self.rates, self.layout)[1]

    @property
    def finds_widths(self) -> bool:
        """Whether its method chooses how many filters each conv keeps, and is not told."""
        return self.method.get("name") in CHOOSES_WIDTHS or "macs" in self.method

    def why_not(self, budget: str, weights: bool = False) -> str:
        """Why this row cannot be trained at ``budget``, to be read after its name; empty: it can.

        Args:
            weights: a trained network is given, for a method that prunes one.
        """
        if not self.method:
            return f"is not trained here: {self.unknown or 'its table names no method for it'}"
        if budget not in self.recipes:
            return f"has no budget {budget}; expected one of: {' '.join(self.recipes)}"
        if self.unknown and not self.finds_widths:
            return f"cannot be trained: {self.unknown}; expected own widths ('prune units {self.arch}', then --units)"
        if self.method["name"] in PRUNES_TRAINED and not (self.start or weights):
            return f"prunes a trained {self.arch}; name its weights with --weights"
        return ""

    def with_widths(self, widths: Widths) -> "Row":
        """A row of your own: the network, method and recipe of this one at other widths, with nothing reported.

        Raises:
            InputError: its method finds the widths itself, or there is none.
        """
        name = self.method.get("name", "")
        if not name or self.finds_widths:
            why = f"{name} finds the widths itself" if name else "it is not trained here"
            others = " ".join(method for method in METHODS if method not in CHOOSES_WIDTHS)
            raise InputError(f"{self.id}: {why}, so it takes no --units; expected a row of one of: {others}")
        return self._own(widths, "own widths", rates=None, given=widths, unknown="")

    def with_settings(self, settings: Mapping[str, Any], **changes) -> "Row":
        """A row of your own: this one with ``changes`` of its fields, which is what ``settings`` set.

        ``prune_lib.runs.settings.changed`` reads and checks settings and knows what they change.
        """
        what = {"set": dict(settings), **({"widths": self.given} if self.given is not None else {})}
        return self._own(what, " ".join(to_words(settings)), settings=settings, **changes)

    def _own(self, what, said: str, **changes) -> "Row":
        """A row made from this one, with nothing reported. Its id, ``own/…``, has a digest of ``what`` was changed."""
        of = self.of or self.id
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
        return replace(
            self, id=f"{OWN}/{of.replace('/', '-')}/{digest}", of=of, reported={}, runs_of="",
            note=f"{said} given by the user, else as {of}", **changes,
        )  # fmt: skip

    @property
    def called(self) -> str:
        """Its id; of a user's own row what it is made from and what was changed, as ``dcff/cifar10/vgg16, lr=0.05``."""
        given = ["own widths"] if self.given is not None else []
        return ", ".join([self.of or self.id, *given, *([" ".join(to_words(self.settings))] if self.settings else [])])

    def key(self, budget: str, draws: int | None = None) -> str:
        """A hash of what is trained, and no more: figures, titles and sources can be corrected without retraining.

        Args:
            draws: as it was when the first weights' drawing had been corrected so many times; ``None``: as it is now.
        """
        rates = self.rates and self.rates.replace(" ", "")
        what: list = [self.arch, rates, self.layout, dict(self.method)]
        what += [self.given] if self.given is not None else []
        what += [{"set": dict(self.settings)}] if self.settings else []
        draws = arch_of(self.arch).draws if draws is None else draws
        if self.method.get("name") in FROM_FRESH and draws:
            what.append({"draws": draws})
        text = json.dumps([*what, self.recipes[budget].not_default()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def earlier_keys(self, budget: str) -> dict[str, str]:
        """The keys that this row had before its network's first weights were corrected, each with the correction."""
        redrawn = arch_of(self.arch).redrawn if self.method.get("name") in FROM_FRESH else ()
        return {self.key(budget, draws): f"from before {'; '.join(redrawn[draws:])}" for draws in range(len(redrawn))}

    def to_json(self) -> dict:
        fields = asdict(self)
        fields["recipes"] = {budget: asdict(recipe) for budget, recipe in self.recipes.items()}
        return fields


@cache
def papers() -> dict[str, dict]:
    """``{paper: what its YAML holds}``, in the order of the names; each file is read once."""
    folder = sorted((files("prune_lib") / "papers").iterdir(), key=lambda file: file.name)
    yamls = {file.name.removesuffix(".yaml"): file for file in folder if file.name.endswith(".yaml")}
    del yamls["claims"]  # comparative claims of all papers: book.tables.claims
    return {paper: read_document(paper, file.read_text(encoding="utf-8")) for paper, file in yamls.items()}


@cache
def all_rows() -> dict[str, Row]:
    """``{id: row}`` of every table of every paper, in the tables' order."""
    return {name: row for paper, document in papers().items() for name, row in _tables(paper, document).items()}


@cache
def all_claims() -> list[dict]:
    """What the papers claim outside their tables: each with ``text`` and ``where`` it stands.

    Either the ``figures`` that a ``row``, or some row of a ``table``, should then have, or a ``finding`` by reading.
    """
    return [claim for paper, document in papers().items() for claim in _claims(paper, document)]


def read_claims(paper: str, text: str) -> list[dict]:
    """The claims of one paper's YAML, every field checked by name.

    Raises:
        InputError: what is wrong, and in which claim.
    """
    return _claims(paper, read_document(paper, text))


def _claims(paper: str, document: dict) -> list[dict]:
    claims = document.get("claims") or []
    if not isinstance(claims, list):
        raise InputError(f"{paper}.yaml, claims: found {type(claims).__name__}; expected a list")
    for number, claim in enumerate(claims, 1):
        where = f"{paper}, claim {number}"
        _expect(claim, where, {"text", "where"}, {"row", "table", "figures", "finding"})
        if ("finding" in claim) == ("figures" in claim) or ("figures" in claim) != (
            ("row" in claim) != ("table" in claim)
        ):
            raise InputError(f"{where}: expected a finding, or figures and the row or table that should have them")
        _expect(claim.get("figures", {}), f"{where}, figures", set(), {*COUNTS, *METRICS})
    return claims


def table_title(table: str) -> str:
    """The title of ``paper/table``, from its YAML."""
    paper, name = table.split("/", 1)
    return papers()[paper]["tables"][name]["title"]


def table_short(table: str) -> str:
    """What ``paper/table`` is called in the middle of a sentence; where its YAML does not say, ``paper/table``."""
    paper, name = table.split("/", 1)
    return papers()[paper]["tables"][name].get("short", table)


def paper_name(row: str) -> str:
    """The short name of the paper of ``paper/table/row``."""
    return papers()[row.split("/", 1)[0]]["paper"]["short"]


def get_row(name: str) -> Row:
    """The row called ``name``.

    Raises:
        InputError: there is none; the message names those most like it.
    """
    rows = all_rows()
    if name not in rows:
        near = difflib.get_close_matches(name, rows, n=3, cutoff=0.5)
        raise InputError(
            f"unknown row {short(name)}; expected such as {' '.join(near or list(rows)[:1])} ('prune rows')"
        )
    return rows[name]


def table_rows(table: str, among: Mapping[str, Row] | None = None) -> list[Row]:
    """The rows of ``paper/table``, among all papers' or those given."""
    among = all_rows() if among is None else among
    rows = [row for row in among.values() if row.table == table]
    if not rows:
        tables = dict.fromkeys(row.table for row in among.values())
        raise InputError(f"unknown table {short(table)}; expected one of: {' '.join(tables)}")
    return rows


def printed_networks(arch: str) -> list[Subject]:
    """The pruned networks of the rows of ``arch`` and its family, each once: a figure may be of one of them."""
    if arch not in ARCHS:
        return []
    names = {arch, *(other.name for other in family(arch))}
    found: dict[tuple, Subject] = {}
    for row in all_rows().values():
        if row.arch in names and row.pruned and not row.unknown:
            about = arch_of(row.arch)
            subject = Subject(row.id, about, row.widths, about.layout(row.layout), narrow=True)
            found.setdefault((row.arch, *row.widths.items()), subject)
    return list(found.values())


@cache
def all_commands() -> dict[str, list[dict]]:
    """``{paper: the commands that it publishes}``, each ``published``, ``ours``, and in what it ``differs``."""
    found = {}
    for paper, document in papers().items():
        for number, command in enumerate(document.get("commands") or [], 1):
            where = f"{paper}.yaml, commands, {number}"
            _expect(command, where, {"published", "ours", "differs"})
            _texts(where, command, ("published", "ours", "differs"))
        if document.get("commands"):
            found[paper] = document["commands"]
    return found


def read_document(paper: str, text: str) -> dict:
    """One paper's YAML: what the paper is, its tables, claims made outside them, and its commands.

    Raises:
        InputError: not YAML, or not these four.
    """
    document = from_yaml(text, f"{paper}.yaml")
    _expect(document, f"{paper}.yaml", {"paper", "tables"}, {"claims", "commands"})
    about = document["paper"]  # type: ignore[index]
    says = (about.get("says") if isinstance(about, dict) else None) or {}
    _expect(says, f"{paper}.yaml, paper, says", set(), set(ITEMS))
    _texts(f"{paper}.yaml, paper, says", says, tuple(says))
    return document  # type: ignore[return-value]


def read_tables(paper: str, text: str) -> dict[str, Row]:
    """The rows of one paper's YAML, every field checked by name.

    Raises:
        InputError: what is wrong, and in which table and row.
    """
    return _tables(paper, read_document(paper, text))


def _tables(paper: str, document: dict) -> dict[str, Row]:
    rows, tables = {}, document["tables"]
    _mappings(f"{paper}.yaml", {"tables": tables})
    for name, table in tables.items():
        where = f"{paper}/{check_name(name, f'{paper}.yaml, tables')}"
        _expect(
            table, where, {"title", "dataset", "source", "rule", "rows"},
            {"short", "arch", "rates", "layout", "method", "start", "tolerance", "recipe", "budgets", "unknown"},
        )  # fmt: skip
        _mappings(where, {key: table[key] for key in ("rows", "recipe", "budgets", "method") if key in table})
        _texts(where, table, ("title", "short", "dataset", "source", "rule", "arch", "layout", "start", "unknown"))
        if extra := set(table.get("budgets") or {}) - set(WRITTEN):
            raise InputError(f"{where}, budgets: unknown budget {short(extra.pop())}; expected {' '.join(WRITTEN)}")
        if type(table.get("tolerance", 0)) not in (int, float) or not 0 <= table.get("tolerance", 0) <= 100:
            raise InputError(f"{where}: tolerance is {table['tolerance']!r}; expected percentage points, 0 … 100")
        for key, fields in table["rows"].items():
            row = _read_row(f"{where}/{check_name(key, where)}", table, fields)
            rows[row.id] = row
    return rows


def _read_row(where: str, table: dict, fields: dict) -> Row:
    given = ("arch", "rates", "layout", "rule", "source", "method", "start", "unknown")  # a row's own, else its table's
    own = ("note", "runs_of", "judged")
    _expect(fields, where, {"title"}, {"reported", *given, *own, "recipe", *WRITTEN})
    _texts(where, fields, ("title", "arch", "layout", "rule", "source", "start", "unknown", *own))
    fields = {"reported": {}} | {name: table[name] for name in given if name in table} | fields
    _expect(fields["reported"], f"{where}, reported", set(), {*COUNTS, *METRICS})
    for figure, printed in fields["reported"].items():
        if not isinstance(printed, str) or not PRINTED.fullmatch(printed):
            raise InputError(f"{where}, {figure}: {short(printed)}; expected text such as 72.77M, 76.83% or '35.8'")
    if fields["rule"] not in RULE_NAMES:
        raise InputError(f"{where}: unknown counting rule {fields['rule']!r}; expected one of: {' '.join(RULE_NAMES)}")
    _mappings(where, {key: fields[key] for key in ("method", "recipe", *WRITTEN) if key in fields})
    if (name := (fields.get("method") or {}).get("name")) not in (None, *METHODS):
        raise InputError(f"{where}: unknown method {short(name)}; expected one of: {' '.join(METHODS)}")
    arch, method, unknown = fields.get("arch") or "", fields.get("method") or {}, fields.get("unknown") or ""
    if not unknown and (not arch or "rates" not in fields):
        raise InputError(f"{where}: {'rates' if arch else 'arch'} is missing; expected it, or why it is unknown")
    recipes = {}
    for budget in WRITTEN if method else ():
        base = (table.get("recipe"), fields.get("recipe"))
        mine = (table.get("budgets", {}).get(budget), fields.get(budget))
        if mine == (None, None) and (budget == "fast" or base == (None, None)):
            continue  # nobody says how it is trained at this budget
        parts = (FAST, *mine) if budget == "fast" else (*base, *mine)
        try:
            recipes[budget] = Recipe.from_dict({name: value for part in parts for name, value in (part or {}).items()})
        except InputError as error:
            raise InputError(f"{where}, {budget}: {error}") from None
    if recipes:
        recipes["tiny"] = tiny(next(recipes[budget] for budget in reversed(BUDGETS) if budget in recipes))
        recipes = {budget: recipes[budget] for budget in BUDGETS if budget in recipes}
    try:
        row = Row(
            id=where, title=fields["title"], dataset=table["dataset"], arch=arch, rates=fields.get("rates"),
            layout=layout_of(arch, fields.get("layout")) if arch else "", rule=fields["rule"],
            reported=fields["reported"], source=fields["source"], unknown=unknown, method=method if recipes else {},
            start=fields.get("start", ""), recipes=recipes, tolerance=float(table.get("tolerance", 0)),
            note=fields.get("note", ""), runs_of=fields.get("runs_of", ""), judged=fields.get("judged", ""),
        )  # fmt: skip
        if not unknown:
            _ = row.widths
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return row


def _texts(where: str, fields: dict, names: Sequence[str]) -> None:
    for name in names:
        if not isinstance(fields.get(name, ""), str):
            raise InputError(f"{where}, {name}: found {short(fields[name])}; expected text")


def _mappings(where: str, named: dict) -> None:
    for key, value in named.items():
        if not isinstance(value, dict):
            raise InputError(f"{where}, {key}: found {type(value).__name__}; expected a mapping")


def _expect(mapping, where: str, needed: set[str], optional: set[str] | None = None) -> None:
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: found {type(mapping).__name__}; expected a mapping")
    for key in mapping:
        if key not in needed | (optional or set()):
            raise InputError(
                f"{where}: unknown key {short(key)}; expected {' '.join(sorted(needed | (optional or set())))}"
            )
    for key in sorted(needed):
        if key not in mapping:
            raise InputError(f"{where}: {key} is missing")
