"""The explorer in JupyterLab, in a real browser. Takes a minute or two, so only when asked: ``make test-browser``."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
pytestmark = [
    pytest.mark.skipif(not os.environ.get("PRUNE_BROWSER"), reason="takes over 30 s: make test-browser asks for it"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, as ``make lab`` starts it; its address."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    (home / "results").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    environment = {**os.environ, **settings, "PRUNE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    tools = Path(sys.executable).parent
    subprocess.run([tools / "jupytext-config", "set-default-viewer", "python"], env=environment, check=True)
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(
            [
                tools / "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
                "--IdentityProvider.token=", "--ServerApp.port_retries=0", "notebooks/start_here.py",
            ],
            cwd=home, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(120_000)
        yield page
        browser.close()


def _type(page, slider, value):
    """Set a slider by the number beside it, as a reader may."""
    box = slider.locator(".widget-readout")
    box.click()
    page.keyboard.press("Control+a")
    page.keyboard.type(value)
    page.keyboard.press("Enter")


def _follows(cell, what, do):
    """Do something; once what the pattern finds has become another, the seconds that the explorer says it took."""
    before = re.search(what, cell.inner_text())[0]
    do()
    for _ in range(600):
        text = cell.inner_text()
        if re.search(what, text)[0] != before:
            return float(re.search(r"(\d+\.\d\d) s\b", text)[1])
        time.sleep(0.1)
    raise AssertionError("nothing changed in a minute")


def test_the_start_page_leads_to_an_explorer_that_moves(lab, page, seen, tmp_path):
    page.goto(f"{lab}/lab/tree/start_here.py")
    page.locator(".jp-Notebook").first.wait_for()
    page.locator("a", has_text="open the explorer").click()
    page.locator(".jp-Notebook h1", has_text="Explorer").click()  # as a notebook, not as text
    page.locator(".jp-mod-current", has_text="explorer.py").first.wait_for()
    page.locator("#jp-main-statusbar", has_text="Idle").wait_for()  # its kernel is there
    page.locator("li.lm-MenuBar-item", has_text="Run").click()
    page.locator("li.lm-Menu-item[data-command='runmenu:run-all']").click()
    page.locator(".widget-label", has_text="sparsity").wait_for()

    outputs = page.locator(".jp-OutputArea-output", has=page.locator(".widget-readout"))
    specs, filters, sparsity = (outputs.nth(i) for i in range(3))
    took = {}

    assert "72,771,956" in specs.inner_text()
    took["rate"] = _follows(
        specs, r"thop-0.0.31\s+\S+", lambda: _type(page, specs.locator(".widget-hslider").last, "0.5")
    )
    assert specs.locator("input[type=text]").first.input_value() == "[0.5]*2+[0.4]*2+[0.35]*3+[0.5]*6"
    took["row"] = _follows(
        specs, r"thop-0.0.31\s+\S+", lambda: specs.locator("select").nth(1).select_option("dcff/cifar10/resnet56")
    )
    assert "55,835,840" in specs.inner_text()

    took["sparsity"] = _follows(
        sparsity, r"pruned\s+.*", lambda: _type(page, sparsity.locator(".widget-hslider").last, "0.5")
    )
    assert "pruned network says" in sparsity.inner_text()

    took["criterion"] = _follows(
        filters, r"scores from .* to \S+;", lambda: filters.locator("select").first.select_option("cdp")
    )
    assert filters.locator("img").first.evaluate("image => image.naturalWidth") > 100

    sparsity.scroll_into_view_if_needed()
    page.screenshot(path=os.environ.get("PRUNE_SCREENSHOT", str(tmp_path / "explorer.png")))
    seen["explorer"] = took
    assert max(took.values()) < 5, took  # each is a fraction of a second on an idle core; this one may be busy
