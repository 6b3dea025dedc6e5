"""The start page and the explorer in JupyterLab, in a real browser: by mouse, by keyboard, and as they look.

Takes a few minutes, so only when asked: ``make test-browser``. ``$PRUNE_SCREENSHOTS`` names a folder for what it sees.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
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
    settings["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    tracker = home / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}', encoding="utf-8")  # cells out of sight are on the page too
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
        try:
            server.wait(120)  # it ends its kernels first
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(120_000)
        yield page
        browser.close()


@pytest.fixture
def shots(tmp_path):
    """Where screenshots go."""
    folder = Path(os.environ.get("PRUNE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _open(page, lab, name):
    """Open a notebook in a workspace of the test's own: the default one would bring back the last test's tabs, late."""
    page.goto(f"{lab}/lab/workspaces/{uuid.uuid4().hex}/tree/{name}")
    page.locator(".jp-Notebook").first.wait_for()


def _run_all(page, name):
    """Choose Run All Cells in the menu, until the kernel has begun."""
    from playwright.sync_api import TimeoutError as Late

    page.locator("#jp-main-statusbar", has_text=name).wait_for()
    page.locator("#jp-main-statusbar", has_text="Idle").wait_for()  # its kernel is there
    ran = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]:"))
    for again in (True, True, False):  # what was said of a kernel may have been said of the notebook in front before
        page.locator("li.lm-MenuBar-item", has_text="Run").click()
        page.locator("li.lm-Menu-item[data-command='runmenu:run-all']").click()
        try:
            ran.first.wait_for(timeout=20_000)
            return
        except Late:
            if not again:
                raise


def _output(page, label):
    """The cell's output that has a control of this name."""
    named = page.locator(".widget-label", has_text=re.compile(f"^{label}$"))
    return page.locator(".jp-OutputArea-output", has=named).first


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


def _looks_right(element, path):
    """Photograph an element: it has something to see in it, and every picture in it is there, with words for it."""
    from PIL import Image

    element.scroll_into_view_if_needed()
    element.screenshot(path=path)
    colours = Image.open(path).convert("RGB").getcolors(1 << 24)
    background = max(count for count, _ in colours) / sum(count for count, _ in colours)
    assert len(colours) > 50, f"{path} is empty"
    assert background < 0.98, f"{path} is empty"
    assert element.locator("img").count() >= 1
    for image in element.locator("img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth") > 100
    assert not re.search("Traceback|[Ee]rror", element.inner_text())


def test_a_newcomer_changes_a_figure_on_the_start_page(lab, page, shots):
    """The three steps that the page names, in the time that it names, with the keyboard alone once it is open."""
    begun = time.monotonic()
    _open(page, lab, "start_here.py")
    page.locator(".jp-Notebook", has_text="Five minutes").first.wait_for()
    _run_all(page, "start_here.py")
    cell = page.locator(".jp-CodeCell", has_text="change a number here")
    cell.locator(".jp-OutputArea-output img").wait_for()
    assert "72,771,956 FLOPs" in cell.inner_text()
    picture = cell.locator(".jp-OutputArea-output img").get_attribute("src")
    _looks_right(cell, shots / "start_here.png")

    cell.locator(".cm-line", has_text="mine =").click()
    page.keyboard.press("Home")
    line = cell.locator(".cm-line", has_text="mine =").inner_text()
    for _ in range(line.index("0.85")):
        page.keyboard.press("ArrowRight")
    for _ in range(4):
        page.keyboard.press("Delete")
    page.keyboard.type("0.5")
    page.keyboard.press("Shift+Enter")
    page.wait_for_function(
        "(old) => [...document.querySelectorAll('.jp-CodeCell')].some((cell) => "
        "cell.innerText.includes('change a number here') && cell.innerText.includes('FLOPs') && "
        "!cell.innerText.includes('72,771,956') && cell.querySelector('img') && cell.querySelector('img').src !== old)",
        arg=picture,
    )
    _looks_right(cell, shots / "start_here_changed.png")
    assert time.monotonic() - begun < 300


def test_the_start_page_leads_to_an_explorer_that_moves(lab, page, seen, shots):
    _open(page, lab, "start_here.py")
    page.locator("a", has_text="open the explorer").click()
    page.locator(".jp-Notebook h1", has_text="Explorer").click()  # as a notebook, not as text
    _run_all(page, "explorer.py")
    page.locator(".widget-label", has_text="sparsity").wait_for()

    specs, filters, sparsity = (_output(page, label) for label in ("spec", "layer", "sparsity"))
    took = {}

    assert specs.locator("select").nth(1).input_value() == "dcff/cifar10/vgg16"  # a paper's own row, not an empty one
    assert "72,771,956" in specs.inner_text()
    assert "resnet20: " in page.locator(".jp-Notebook", has_text="A trained network").inner_text()
    for name, output in {"specs": specs, "filters": filters, "sparsity": sparsity}.items():
        _looks_right(output, shots / f"explorer_{name}.png")

    took["rate"] = _follows(
        specs, r"thop-0.0.31\s+\S+", lambda: _type(page, specs.locator(".widget-hslider").last, "0.5")
    )
    assert specs.locator("input[type=text]").first.input_value() == "[0.5]*2+[0.4]*2+[0.35]*3+[0.5]*6"
    took["row"] = _follows(
        specs, r"thop-0.0.31\s+\S+", lambda: specs.locator("select").nth(1).select_option("dcff/cifar10/resnet56")
    )
    assert "55,835,840" in specs.inner_text()

    def by_arrow():
        sparsity.locator("[role=slider]").last.focus()
        page.keyboard.press("ArrowRight")

    took["sparsity"] = _follows(sparsity, r"pruned\s+.*", by_arrow)
    assert ("pruned network says" if os.environ.get("PRUNE_DATA") else "as recorded") in sparsity.inner_text()

    took["criterion"] = _follows(
        filters, r"scores from .* to \S+;", lambda: filters.locator("select").first.select_option("cdp")
    )
    seen["explorer"] = took
    assert max(took.values()) < 5, took  # each is a fraction of a second on an idle core; this one may be busy


def test_every_widget_is_reached_by_the_keyboard(lab, page):
    """From the first control, Tab alone comes to every other one in the order in which they stand."""
    _open(page, lab, "explorer.py")
    page.locator(".jp-Notebook h1", has_text="Explorer").click()
    _run_all(page, "explorer.py")
    _output(page, "figure").wait_for(timeout=400_000)  # some seconds of a core that is idle
    kinds = "select", "input[type=text]", "[role=slider]", ".widget-readout[contenteditable=true]"
    controls = f".jp-OutputArea-output .jupyter-widgets :is({', '.join(kinds)})"
    count = page.locator(controls).count()
    assert count > 15
    page.evaluate(
        "(what) => [...document.querySelectorAll(what)].forEach((e, i) => { e.dataset.number = i })", controls
    )
    for output in page.locator(".jp-OutputArea-output", has=page.locator(controls)).all():
        numbers = [
            int(n) for n in output.locator("[data-number]").evaluate_all("all => all.map(e => e.dataset.number)")
        ]
        output.locator(f"[data-number='{numbers[0]}']").focus()
        reached = [numbers[0]]
        for _ in range(3 * len(numbers)):
            page.keyboard.press("Tab")
            now = page.evaluate("document.activeElement.dataset.number ?? ''")
            if now and int(now) in numbers:
                reached.append(int(now))
            if len(reached) == len(numbers):
                break
        assert reached == numbers, f"by Tab {reached}, of {numbers}"
