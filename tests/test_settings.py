"""What a user sets otherwise than a row has it: read, checked, recorded apart, and never taken for the row's own."""

import dataclasses
import json
import shlex

import pytest

from prune_lib.book.tables import load_table
from prune_lib.book.tables.results import record_files
from prune_lib.cli.parser import main
from prune_lib.papers.methods import METHODS
from prune_lib.papers.options import options_of
from prune_lib.papers.published import ALIASES
from prune_lib.papers.recipe import CHOICES, RANGES, Recipe
from prune_lib.papers.rows import all_rows, get_row
from prune_lib.runs import queue, records, runner, settings
from prune_lib.runs.execution import Execution
from prune_lib.runs.records import Run
from prune_lib.runs.settings import changed, changed_rows, settings_of
from prune_lib.system.errors import InputError
from prune_lib.system.words import read_given, to_words

DCFF, CDP = "dcff/cifar10/resnet56", "cdp/resnet20-study/s30_cdp"
CFDP, EXPO = "cfdp/resnet20-study/r50_cfdp", "filterexpo/resnet20-study/explore"
QUICK = ["epochs=1", "lr=0.02", "batch=40", "train_images=80", "heldout=20", "rates=[0.7]*30"]


def test_a_name_means_one_thing_whatever_part_of_a_row_has_it():
    recipe, machine = ({field.name for field in dataclasses.fields(of)} for of in (Recipe, Execution))
    of_methods = {name for method in METHODS for name in options_of(method)}
    assert not recipe & machine | recipe & of_methods | machine & of_methods
    assert not (recipe | machine | of_methods | {"rates"}) & set(ALIASES)
    assert {alias.to for alias in ALIASES.values()} <= recipe | machine | of_methods | {"rates"}
    assert set(RANGES) | set(CHOICES) <= recipe


@pytest.mark.parametrize("method", METHODS)
def test_options_are_read_from_the_source_as_their_classes_take_them(method):
    import inspect
    from importlib import import_module

    module, name = METHODS[method].split(":")
    cls = getattr(import_module(module, "prune_lib.papers"), name)
    given = {}
    for maker in (cls.__init__, cls.for_arch):
        for parameter in inspect.signature(maker).parameters.values():
            if parameter.annotation is not inspect.Parameter.empty and parameter.name not in ("arch", "filters"):
                empty = parameter.default is inspect.Parameter.empty
                given[parameter.name] = None if empty else parameter.default
    options = options_of(method)
    assert {name: option.default for name, option in options.items()} == given
    assert all(option.meaning for option in options.values())
    assert all(option.kind.removesuffix(" | None") in ("int", "float", "str", "bool") for option in options.values())


def test_everything_that_can_be_set_is_listed_with_its_meaning_and_default(capsys):
    for row in all_rows().values():
        for name, setting in settings_of(row).items():
            assert setting.meaning, (row.id, name)
    assert main(["show", EXPO]) == 0
    shown = capsys.readouterr().out
    for words in ("channel_sparsity       sparsity", "regrow", "micro_batch", "(1 … 100000)", "--set epochs=1"):
        assert words in shown
    assert main(["show", EXPO, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["settings"]
    assert listed["sparsity"]["default"] == 0.5
    assert listed["until"]["published"] == ["T_max"]


@pytest.mark.parametrize(
    ("row", "words", "expected"),
    [
        (DCFF, "num_epochs=30 lr_decay_step='15 24' train_batch_size=64",
         {"epochs": 30, "milestones": (0.5, 0.8), "batch_size": 64}),
        (DCFF, "--lr-type=cos cprate=[0.5]*30 wd=1e-4",
         {"schedule": "cosine", "rates": "[0.5]*30", "weight_decay": 1e-4}),
        (DCFF, "amp=yes static-loss-scale=128 label-smoothing=.1",
         {"precision": "fp16", "loss_scale": 128.0, "label_smoothing": 0.1}),
        (CDP, "coe=1.5 stop_batch=2", {"balance": 1.5, "images": 20_000}),
        (CFDP, "limit=3 alpha=0.5", {"images": 384, "alpha": 0.5}),
        (EXPO, "channel_sparsity=0.3 T_max=0.5 delta_T=2 init_channel_ratio=.1 sampling=true",
         {"sparsity": 0.3, "until": 0.5, "interval": 2, "initial": 0.1, "regrow": "gram"}),
        (EXPO, "optimizer_batch_size=16 warmup=1 mixup=0.2 cutout=4 train_images=50",
         {"batch_size": 16, "warmup": 1, "mixup": 0.2, "cutout": 4, "train_images": 50}),
    ],
)  # fmt: skip
def test_published_names_and_units_become_ours(row, words, expected):
    own = changed(row, "smoke", words)
    assert own.settings == expected
    recipe = {f.name for f in dataclasses.fields(Recipe)}
    for name, value in expected.items():
        if name in recipe:
            assert getattr(own.recipes["smoke"], name) == value
        elif name in options_of(own.method["name"]):
            assert own.method[name] == value


def test_words_a_text_and_a_mapping_say_the_same():
    asked = {"epochs": 3, "lr": 0.05, "milestones": [0.5], "nesterov": True, "train_images": None, "undecayed": "bn"}
    words = ["epochs=3", "lr=5e-2", "milestones=[0.5]", "nesterov=yes", "train_images=all", "undecayed=bn"]
    ids = {changed(DCFF, "smoke", given).id for given in (asked, words, " ".join(words), words[::-1])}
    assert len(ids) == 1
    own = changed(DCFF, "smoke", asked)
    assert changed(DCFF, "smoke", to_words(own.settings)) == own  # what its command says makes it again
    assert changed(own, "smoke", "lr=0.07").settings == {**own.settings, "lr": 0.07}
    assert shlex.split(Run(own, "smoke", 0).command)[8:] == to_words(own.settings)


def test_what_changes_nothing_is_the_row():
    row = get_row(DCFF)
    recipe = row.recipes["paper"]
    assert changed(row, "paper", f"epochs={recipe.epochs} lr={recipe.lr} variant=authors engine=eager") is row
    assert changed(row, "paper", "") is row
    assert changed(row, "paper", {"cprate": f" {row.rates} "}) is row
    assert changed(row, "paper", f"epochs={recipe.epochs} lr=0.2").settings == {"lr": 0.2}


def test_every_setting_gives_a_key_of_its_own():
    row = get_row(CDP)
    keys = {row.key("smoke")}
    each = (
        "epochs=7",
        "sparsity=0.2",
        "flops=0.5",
        "balance=1",
        "precision=fp16",
        "micro_batch=8",
        "clip=1",
        "engine=graph",
    )
    for words in each:
        own = changed(row, "smoke", words)
        keys.add(own.key("smoke"))
        assert own.table != row.table
        assert not own.reported
        assert own.id not in all_rows()
    assert len(keys) == len(each) + 1
    assert "sparsity" not in changed(row, "smoke", "flops=0.5").method  # of two that exclude each other, the one set
    assert len({row.id.replace("/", "-") for row in all_rows().values()}) == len(all_rows())  # own folders


BAD = [
    (DCFF, "epoch=1", "unknown setting 'epoch'; expected such as epochs"),
    (DCFF, "epochs=0", "epochs is 0; expected 1 … 100000"),
    (DCFF, "epochs=1e3", "epochs is '1e3'; expected a whole number, 1 … 100000"),
    (DCFF, "lr=nan", "lr is 'nan'; expected a number, 0 … 1000000"),
    (DCFF, "lr=1e999", "expected a number, 0 … 1000000"),
    (DCFF, "batch=1 batch_size=2", "batch and batch_size are the same"),
    (DCFF, "epochs=1 epochs=2", "'epochs' is there twice"),
    (DCFF, "epochs", "'epochs' is no setting; expected such as epochs=30"),
    (DCFF, "rates='[0.5", "No closing quotation"),
    (DCFF, "rates=__import__('os')", "__import__"),
    (DCFF, "rates=[0.5]*3", "the spec has 3 rates; expected 30"),
    (DCFF, "seed=1", "seed is no setting; expected --seed beside --set"),
    (DCFF, "sparsity=0.5", "sparsity is for cdp filterexpo; dcff/cifar10/resnet56 is of dcff"),
    (DCFF, "limit=5", "limit is for cfdp hrank;"),
    (DCFF, "variant=x", "unknown DCFF variant 'x'; expected one of: authors paper"),
    (DCFF, "schedule=exp", "expected one of: step linear cosine poly onecycle"),
    (DCFF, "lr_decay_step=150", "lr_decay_step is 150; expected 1 … 4"),
    (DCFF, "precision=fp8", "unknown precision 'fp8'; expected one of: fp32 tf32 bf16 fp16"),
    (DCFF, "loss_scale=128", "loss-scale 128 is for precision fp16"),
    (DCFF, "precision=fp16 loss_scale=-1", "loss-scale is -1.0; expected a factor up to 2^24"),
    (DCFF, "micro_batch=-1", "micro-batch is -1; expected 1 … 1000000 images"),
    (DCFF, "data=coco", "data is 'coco'; expected one of: cifar10 digits"),
    (DCFF, "train_images=0", "train_images is 0; expected 1 …"),
    (DCFF, "epochs=" + "9" * 5000, "expected a whole number"),
    (CDP, "sparsity=1", "sparsity is 1.0; expected a share in [0, 1)"),
    (CDP, "sparsity=.5 flops=.5", "expected one of them"),
    (CDP, "rates=[0.5]*12", "cdp finds the widths itself, so it takes no rates"),
    (CDP, "compress_rate=[0.5]*12", "cdp finds the widths itself, so it takes no compress_rate"),
    (DCFF, "resume=x", "resume is no setting; expected nothing: the same command goes on"),
    (CDP, "criterion=x", "unknown criterion 'x'; expected one of: cdp"),
    (CFDP, "limit=0.3", "limit is '0.3'; expected a whole number"),
    (CFDP, "alpha=-1", "alpha is -1.0; expected a number from 0"),
    (EXPO, "T_max=1", "until is 1.0; expected a share in [0, 1)"),
    (EXPO, "sampling=perhaps", "expected true or false"),
    ("filterexpo/readme/resnet50_2g", "epochs=1", "is not trained here"),
]


@pytest.mark.parametrize(("row", "words", "says"), BAD, ids=lambda value: value[:40])
def test_bad_settings_are_one_line_and_nothing_is_written(row, words, says, project, capsys):
    given = shlex.split(words) if words != "rates='[0.5" else words
    with pytest.raises(InputError) as refusal:
        changed(row, "smoke", given)
    assert says in str(refusal.value)
    if isinstance(given, list):
        assert main(["run", row, "--device", "cpu", "--set", *given]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert (err.count("\n"), err[:7]) == (1, "prune: ")
    assert not [path for path in project.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "given", [{1: 2}, {"epochs": [1]}, {"epochs": True}, {"lr": {}}, {"lr": 10**400}, {"rates": 5}]
)
def test_what_yaml_can_hold_and_no_field_can_is_refused(given):
    with pytest.raises(InputError):
        changed(DCFF, "smoke", given)


def test_settings_are_read_from_words_alone():
    assert read_given(None) == read_given("") == read_given([]) == {}
    assert read_given("a=1 b='x y'") == {"a": "1", "b": "x y"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project in which a changed row has been run by the command line."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("own")
        patch.setenv("PRUNE_HOME", str(folder))
        assert main(["run", DCFF, "--device", "cpu", "--quiet", "--set", *QUICK]) == 0
        return folder


def test_a_changed_run_is_found_by_the_same_settings_and_by_nothing_else(finished, monkeypatch, capsys):
    monkeypatch.setenv("PRUNE_HOME", str(finished))
    row, own = get_row(DCFF), changed(DCFF, "smoke", QUICK)
    record = records.find(Run(own, "smoke", 0))
    assert (record["row"], record["of"], record["set"]["rates"]) == (own.id, DCFF, "[0.7]*30")
    assert (record["recipe"]["epochs"], record["key"]) == (1, own.key("smoke"))
    assert records.find(Run(row, "smoke", 0)) is None
    assert list(records.records()) == list(records.records(row)) == []
    assert records.best_record(row) is None
    assert record_files() == []
    monkeypatch.setattr(runner, "_run", lambda *_: pytest.fail("trained again"))
    assert main(["run", DCFF, "--device", "cpu", "--set", *reversed(QUICK)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{DCFF}, batch_size=40 epochs=1")
    assert "nothing was run" in said.err


def test_a_table_names_a_changed_run_and_does_not_judge_it(finished, monkeypatch):
    monkeypatch.setenv("PRUNE_HOME", str(finished))
    table = load_table("dcff/cifar10")
    (line,) = [line for line in table.lines if line.row.id == DCFF]
    assert (line.accuracy.budget, list(line.accuracy.seeds), list(line.unfinished)) == (None, [], [])
    assert [line.row.id for line in table.lines if line.own] == [DCFF]
    assert "not judged: ResNet-56, batch_size=40 epochs=1" in str(table)


def test_the_queue_takes_settings_and_leaves_the_row_to_be_run(finished, monkeypatch, capsys):
    monkeypatch.setenv("PRUNE_HOME", str(finished))
    assert queue.jobs([DCFF], "smoke", [0], given=QUICK) == []
    assert [job.row.id for job in queue.jobs([DCFF], "smoke", [0])] == [DCFF]
    (other,) = queue.jobs([DCFF], "smoke", [0], given="epochs=2")
    assert other.run.words[-2:] == ["--set", "epochs=2"]
    dense, own = queue.jobs([CDP], "smoke", [0], given="sparsity=0.4")
    assert (dense.row.id, own.row.of, own.row.method["sparsity"]) == (get_row(CDP).start, CDP, 0.4)
    with pytest.raises(InputError, match="sparsity is for cdp filterexpo"):
        queue.jobs([DCFF, CDP], "smoke", [0], given="sparsity=0.4")
    assert main(["queue", "--rows", DCFF, "--list", "--json", "--set", "epochs=2"]) == 0
    assert [job["set"] for job in json.loads(capsys.readouterr().out)] == [{"epochs": 2}]


def test_execution_is_set_or_said_but_not_both_ways():
    own = changed(DCFF, "smoke", "precision=fp16 loss_scale=128")
    assert settings.execution(own, {"micro_batch": 8}) == {"micro_batch": 8, "precision": "fp16", "loss_scale": 128.0}
    with pytest.raises(InputError, match="precision is 'fp32', and 'fp16' by set; expected one of them"):
        settings.execution(own, {"precision": "fp32"})


def test_the_dense_network_that_a_changed_row_prunes_is_not_changed(project, monkeypatch):
    """It is trained by its own row's recipe, at the precision of the command; other data need other weights."""
    own, seen = changed(CDP, "smoke", "precision=fp16 epochs=1"), []

    class Stop(Exception):
        pass

    def train(model, data, recipe, method, **options):
        seen.append((options["identity"].split()[0], recipe.epochs, options["precision"]))
        raise Stop

    monkeypatch.setattr(runner.training, "train", train)
    with pytest.raises(Stop):
        runner.run(own, "smoke", device="cpu", progress=False, precision=None)
    dense = get_row(own.start)
    assert seen[0][:2] == (dense.id, dense.recipes["smoke"].epochs)
    assert seen[0][2] in ("fp32", "bf16")
    with pytest.raises(InputError, match="trained on other data; name its --weights"):
        runner.run(changed(CDP, "smoke", "data=cifar10"), "smoke", device="cpu")


def test_own_widths_and_settings_go_together(project):
    row = get_row(DCFF).with_widths({"layer1.0.conv1": 3})
    own = changed(row, "smoke", "epochs=1")
    assert (own.of, own.given, own.called) == (DCFF, row.given, f"{DCFF}, own widths, epochs=1")
    assert len({row.id, own.id, changed(DCFF, "smoke", "epochs=1").id}) == 3
    assert own.widths == row.widths
    with pytest.raises(InputError, match="both rates and units"):
        changed(row, "smoke", "rates=[0.5]*30")


def test_rows_of_one_comparison_are_changed_by_what_each_has():
    full, compact = get_row("mmrazor/detection-small/dense"), get_row("mmrazor/detection-small/dcff")
    given = {"epochs": 1, "every": 3, "rates": compact.rates.replace("0.5", "0.25")}
    own = changed_rows([full, compact], "smoke", given)
    assert [set(row.settings) for row in own] == [{"epochs"}, set(given)]
    assert not own[0].pruned
    assert changed_rows([full, compact], "smoke", "") == [full, compact]
    with pytest.raises(InputError, match="sparsity is for cdp filterexpo"):
        changed_rows([full, compact], "smoke", "epochs=1 sparsity=0.5")
    with pytest.raises(InputError, match="rates is for none of these rows"):
        changed_rows([full], "smoke", {"rates": "[0.25]*12"})
    with pytest.raises(InputError, match="unknown setting 'epoch'"):
        changed_rows([full, compact], "smoke", "epoch=1")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--precision fp8", "unknown precision 'fp8'; expected one of: fp32 tf32 bf16 fp16"),
        ("--engine x", "unknown engine 'x'; expected one of: eager graph compile"),
        ("--micro-batch -1", "micro-batch is -1; expected 1 … 1000000 images"),
        ("--loss-scale 128", "loss-scale 128 is for precision fp16"),
        ("--precision fp16 --loss-scale nan", "loss-scale is nan; expected a factor up to 2^24"),
        ("--precision fp32 --set amp=yes", "precision is 'fp32', and 'fp16' by set"),
    ],
)
def test_what_no_machine_can_do_is_refused_before_anything_runs(words, says, project, capsys):
    commands = [["run", DCFF, "--device", "cpu"]]
    commands += [] if "--set" in words else [["queue", "--rows", DCFF, "--device", "cpu"]]
    for command in commands:
        assert main([*command, *words.split()]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1
    assert not [path for path in project.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("words", "says"),
    [("--mean 5 0 0", "mean is [5.0, 0.0, 0.0]; expected each channel's in [0, 1]"),
     ("--std 0 1 1", "std is [0.0, 1.0, 1.0]; expected each channel's in (0, 1]"),
     ("--std nan 1 1", "expected each channel's in (0, 1]")],
)  # fmt: skip
def test_constants_that_no_images_have_are_refused(words, says, project, capsys):
    assert main(["eval", DCFF, "--weights", "x.safetensors", "--data", "digits", *words.split()]) == 2
    assert says in capsys.readouterr().err


def test_a_linear_schedule_falls_to_zero_after_its_warm_up():
    recipe = Recipe(schedule="linear", lr=0.8, epochs=10, warmup=2)
    assert [round(recipe.lr_at(epoch, 3, 4), 6) for epoch in (0, 1, 2, 6, 9)] == [0.5, 0.9, 0.8, 0.4, 0.1]
