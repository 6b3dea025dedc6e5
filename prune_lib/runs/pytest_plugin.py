"""A plugin of pytest: ``pytest --pruning-method package.module:Class`` holds any pruning method to ``contract.py``.

Options of the method follow its name, as for ``prune run --set``: ``"package.module:Class sparsity=0.5"``. Without
a path beside it the contract is all that runs. A suite of one's own takes the contract in by two lines:

    from prune_lib.runs.contract import *
    PRUNING_METHODS = ["package.module:Class sparsity=0.5"]
"""

from pathlib import Path

import pytest

CONTRACT = "prune_lib.runs.contract"
pytest.register_assert_rewrite(CONTRACT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("prune_lib").addoption(
        "--pruning-method",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="hold this pruning method to prune_lib's contract; its options may follow: 'my:Method rate=0.5'",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not (given := config.getoption("--pruning-method")):
        return
    from ..papers.named import method_named
    from ..system.errors import InputError

    try:
        for text in given:
            method_named(text, config.invocation_params.dir)
    except InputError as error:
        raise pytest.UsageError(f"--pruning-method {error}") from None
    paths = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    contract = str(Path(__file__).with_name("contract.py"))
    config.args = [*(path for path in paths if path != contract), contract]  # a worker of xdist is given it already


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pruning_method" in metafunc.fixturenames:
        given = getattr(metafunc.module, "PRUNING_METHODS", None) or metafunc.config.getoption("--pruning-method")
        metafunc.parametrize("pruning_method", given, scope="module")
