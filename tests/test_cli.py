import argparse
import json
import shutil
import subprocess
import sys

import pytest

from prune_lib.cli.parser import EXAMPLES, _parser, main
from prune_lib.cost.counters import COUNTERS
from prune_lib.cost.rules import RULES

MALFORMED = [
    "", "[0.5]", "[0.5]*12", "[0.5]*14", "[1.0]*13", "[-0.5]*13", "[0.99]*13", "[0.5]*99999999999", "[[0.5]*13]",
    "[0.5]*2+__import__('os').system('touch x')", "[nan]*13", "(" * 999,
]  # fmt: skip


def _json(capsys, *argv):
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_cost_prints_what_was_promised(capsys):
    found = _json(capsys, "cost", "vgg16", "--rates", "[0.5]*2+[0.4]*2+[0.35]*3+[0.85]*6")
    assert (found["arch"], found["rule"], len(found["rates"])) == ("vgg16", "thop-0.0.31", 13)
    assert (found["params"], found["flops"]) == (1_071_248, 72_771_956)
    assert (found["base_params"], found["base_flops"]) == (14_728_266, 314_031_616)
    assert (round(found["params_cut"], 2), round(found["flops_cut"], 2)) == (92.73, 76.83)
    assert all(type(found[key]) is int for key in ("params", "flops", "base_params", "base_flops"))


def test_cost_can_show_every_rule(capsys):
    rules = _json(capsys, "cost", "resnet20", "--rule", "all")
    assert [item["rule"] for item in rules] == [*RULES, *COUNTERS]
    assert main(["cost", "resnet20", "--rates", "[0.5]*12", "--rule", "macs"]) == 0
    assert "macs" in capsys.readouterr().out


@pytest.mark.parametrize("spec", MALFORMED)
def test_a_malformed_spec_is_one_line_and_nothing_written(spec, project, capsys, monkeypatch):
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    assert main(["cost", "vgg16", f"--rates={spec}"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("prune: ")
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "required: COMMAND"),
        (["frob"], "invalid choice: 'frob'"),
        (["cost"], "which network"),
        (["cost", "vgg19"], "unknown architecture 'vgg19'"),
        (["cost", "vgg16", "--rule", "x"], "unknown counting rule 'x'"),
        (["cost", "vgg16", "--layout", "x"], "no layout 'x'"),
        (["run", "x"], "unknown row 'x'"),
        (["run", "dcff/cifar10/vgg16", "--budget", "x"], "unknown budget 'x'"),
        (["run", "dcff/cifar10/vgg16", "--seed", "x"], "invalid int value: 'x'"),
        (["run", "dcff/cifar10/vgg16", "--device", "x"], "device 'x' is not usable"),
        (["run", "dcff/cifar10/vgg16", "--budget", "paper", "--data-dir", "/nowhere"], "no CIFAR-10 in /nowhere"),
        (["table", "x"], "unknown table 'x'"),
        (["data", "x"], "unknown image set 'x'"),
        (["data", "digits", "--download"], "digits needs no download"),
    ],
)
def test_bad_words_are_one_line(argv, words, project, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not any(path.suffix == ".json" for path in project.rglob("*"))


def test_rows_and_tables_are_listed(project, capsys):
    assert {row["id"] for row in _json(capsys, "rows")} >= {"dcff/cifar10/vgg16", "dcff/cifar10-dense/vgg16"}
    table = _json(capsys, "table", "dcff/cifar10")
    assert [row["verdict"] for row in table["rows"]] == ["not attempted"] * 4
    for argv in (["rows"], ["table", "dcff/cifar10"]):
        assert main(argv) == 0
        assert "93.47%" in capsys.readouterr().out


def test_data_says_what_is_there(project, capsys):
    found = _json(capsys, "data", "digits")
    assert (found["train"], found["test"], len(found["sha256"])) == (1497, 300, 64)


def test_help_teaches_with_an_example(capsys):
    for name, example in EXAMPLES.items():
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert " ".join(example.split()) in " ".join(capsys.readouterr().out.split())


def test_a_bad_spec_is_refused_before_torch_is_loaded():
    script = (
        "import sys; from prune_lib.cli import main; code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "cost", "vgg16", "--rates", "[0.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def test_the_module_runs_like_the_command():
    done = subprocess.run([sys.executable, "-m", "prune_lib", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("prune_lib ")


def _complete(*words):
    """What bash offers after ``words``, the last of which is being typed."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    script = subprocess.run(
        [sys.executable, "-m", "prune_lib", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    asked = (
        'eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_shtab_prune prune "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run([bash, "-c", asked, "-", script, *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_is_a_script_that_its_shell_can_read(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=script, text=True, check=True)
    registers = {"bash": "-F _shtab_prune prune", "zsh": "== (eval|file) ]]"}  # zsh: when it is sourced, too
    assert script.count(registers[shell]) == 1


def test_zsh_knows_the_command_in_a_shell_that_has_nothing_set_up(tmp_path, capsys):
    if not (zsh := shutil.which("zsh")):
        pytest.skip("no zsh here")
    assert main(["completion", "zsh"]) == 0
    (tmp_path / "prune.zsh").write_text(capsys.readouterr().out)
    asked = "source $1; print $_comps[prune]"
    done = subprocess.run([zsh, "-fc", asked, "-", tmp_path / "prune.zsh"], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["_shtab_prune"], "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["prune", "la"], {"latency"}),
        (["prune", "run", "dcff/cifar10/v"], {"dcff/cifar10/vgg16"}),
        (["prune", "run", "--budget", "s"], {"smoke", "short"}),
        (["prune", "run", "--budget", "smoke", "--seed", "1", "--json", "dcff/cifar10/v"], {"dcff/cifar10/vgg16"}),
        (["prune", "cost", "mobile"], {"mobilenet_v2"}),
        (["prune", "cost", "vgg16", "--rule", "thop-0.1"], {"thop-0.1.1"}),
        (["prune", "table", "cdp/cifar10"], {"cdp/cifar10", "cdp/cifar10-dense"}),
        (["prune", "data", "city"], {"cityscapes"}),
        (["prune", "book", "--q"], {"--quiet"}),
        (["prune", "completion", ""], {"bash", "zsh"}),
        (["prune", "show", "dcff/cifar10/v"], {"dcff/cifar10/vgg16"}),
        (["prune", "results", "filter"], {"filterexpo"}),
    ],
)
def test_bash_completes(words, offered):
    assert set(_complete(*words)) == offered


def test_every_command_has_an_example_and_says_json_where_it_finds_something():
    commands = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    assert set(commands) == set(EXAMPLES)
    silent = {name for name, sub in commands.items() if "--json" not in sub._option_string_actions}
    assert silent == {"completion"}


def test_quiet_and_verbose(project, capsys):
    argv = ["run", "cdp/cifar10-dense/resnet20"]
    with pytest.MonkeyPatch.context() as patch:
        record = {
            "row": "r", "budget": "smoke", "seed": 0, "status": "finished",
            "metrics": {**dict.fromkeys(("top1_test_best", "top1_selected", "top1_last"), 1.0), "flops": 1, "params": 1,
                        "rule": "macs"},
            "curves": {"epoch": [0, 1], "loss": [2.0, 1.0]},
        }  # fmt: skip
        told = []
        patch.setattr("prune_lib.runs.runner.run", lambda *a, progress, **k: told.append(progress) or record)
        for words in ([], ["--quiet"], ["--verbose"]):
            assert main([*argv, *words]) == 0
            told.append(capsys.readouterr())
    loud, (out, err), (also, more) = told[1], told[3], told[5]
    assert (told[0], told[2], told[4]) == (True, False, True)
    assert "1.00 %" in loud.out
    assert (out, err) == ("", "")
    assert also == loud.out
    assert "epoch 2: loss 1.0" in more
    assert "recipe: " in more
    assert main(["run", "x", "--quiet", "--verbose"]) == 2


def test_a_row_is_shown_with_what_each_field_means(capsys):
    found = _json(capsys, "show", "dcff/cifar10/vgg16")
    assert (found["reported"]["flops"], found["recounted"]["flops"]) == ("72.77M", 72_771_956)
    assert found["fields"]["gamma"]["default"] == 0.1
    assert set(found["fields"]) == set(found["recipes"]["paper"])
    assert all(about["meaning"] for about in found["fields"].values())
    assert main(["show", "dcff/cifar10/vgg16"]) == 0
    out = capsys.readouterr().out
    assert "72,771,956" in out
    assert "epochs of linear warm-up" in out


def test_errata_and_results_are_listed(capsys):
    assert len(_json(capsys, "errata")) > 30
    assert {row["paper"] for row in _json(capsys, "results", "cdp")} == {"CDP"}
    assert main(["results", "x"]) == 2


def _imports_torch(*argv):
    script = "import sys; from prune_lib.cli import main; code = main(sys.argv[1:]); assert not code; \
print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True)
    return done.stderr.split()[-1]


@pytest.mark.parametrize(
    "argv",
    ["rows", "errata", "results", "table dcff/cifar10", "show dcff/cifar10/vgg16", "units resnet20",
     "cost resnet50 --rule all", "cost vgg16 --rates [0.5]*13 --rule all", "completion bash"],
)  # fmt: skip
def test_an_answer_that_needs_no_torch_imports_none(argv):
    assert _imports_torch(*argv.split()) == "False"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_compact_file_is_recounted_from_its_header(dtype, tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    from prune_lib.cost.counting import cost
    from prune_lib.nets import build, read_spec

    widths = read_spec("resnet20", "[0.5]*12")[1]
    model = build("resnet20", widths)
    with torch.no_grad():
        model.conv1.weight[:2] = 0
        model.conv1.weight[2] = -0.0
    weights = {k: t.to(getattr(torch, dtype)) if t.is_floating_point() else t for k, t in model.state_dict().items()}
    save_file(weights, tmp_path / "said.safetensors", {"arch": "resnet20", "widths": json.dumps(widths)})
    save_file(weights, tmp_path / "named.safetensors")
    expected = [cost("resnet20", widths, rule, model=model).flops for rule in RULES]
    for words in (["--weights", str(tmp_path / "said.safetensors")],
                  ["resnet20", "--weights", str(tmp_path / "named.safetensors")]):  # fmt: skip
        assert [item["flops"] for item in _json(capsys, "cost", *words, "--rule", "all")][: len(RULES)] == expected
        assert _imports_torch("cost", *words, "--rule", "chex") == "False"
