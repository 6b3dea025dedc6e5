"""The built book in a real browser: every page, at two widths, light and dark, with nothing asked of the network.

axe-core looks at each page too: on a desk in the light, and on a phone in the dark.

Needs Debian's chromium (``apt-get install chromium``) and the book that ``make`` built; it skips where one is missing.
"""

import contextlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "book" / "_build" / "html"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
CONTENTS = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [CONTENTS["root"], *(chapter["file"] for part in CONTENTS["parts"] for chapter in part["chapters"])]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1300, "height": 900}
RENDERED = "[...document.querySelectorAll('.math')].every((math) => math.querySelector('mjx-container'))"
UNSET = (
    "[...document.querySelectorAll('.math')].filter((m) => !m.querySelector('mjx-container') || "
    "m.querySelector('mjx-merror')).map((m) => m.textContent)"
)
LARGEST = 1_000_000  # bytes of a page
SERIOUS = ("serious", "critical")  # of axe-core's minor, moderate, serious, critical
PICTURES = "[...document.querySelectorAll('img')]"
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => rgb.slice(0, 3)
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const poor = new Set();
  for (const e of document.querySelectorAll('.prune-table :is(td, th, small, a, caption), .prune-findings :is(dt, p), '
      + '.prune-controls :is(label, input, select, button, output)')) {
    if (!e.textContent.trim() && e.tagName !== 'INPUT') continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.add(`${e.tagName} ${e.className} ${e.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return [...poor];
}"""


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


def _why_not() -> str:
    """Why the book cannot be looked at here, or nothing."""
    if not CHROMIUM.is_file():
        return f"no {CHROMIUM}; apt-get install chromium"
    if not (HTML / "index.html").is_file():
        return "no built book; run 'make' first"
    built = (HTML / "index.html").stat().st_mtime
    folders = (ROOT / "notebooks").glob("*.py"), (ROOT / "book").glob("*.*"), (ROOT / "book" / "_static").glob("*")
    newer = [path.name for paths in folders for path in paths if path.is_file() and path.stat().st_mtime > built]
    return f"the built book is older than {min(newer)}; run 'make' first" if newer else ""


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")


@pytest.fixture(scope="module")
def address():
    """The book served from a folder below the host's root, as many hosts do."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(HTML.parent)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{HTML.name}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser(seen):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        seen |= {"browser": f"Chromium {browser.version}", "whole": len(PAGES)}
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visitor(browser, address):
    """A tab, and what went wrong in it: requests that leave the book are refused and noted, errors and warnings too."""
    context = browser.new_context(viewport=DESK, color_scheme="light")
    wrong: list[str] = []

    def refuse(route):
        wrong.append(f"asked for {route.request.url}")
        route.abort()

    context.route(re.compile(f"^(?!{re.escape(address)}/|file:|data:)"), refuse)
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    yield page, wrong
    context.close()


@pytest.fixture
def page(visitor):
    """A tab whose test fails for anything that went wrong in it meanwhile."""
    page, wrong = visitor
    wrong.clear()
    yield page
    assert wrong == []


def _overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def _faults(page):
    """What axe-core calls serious or critical, on a desk in the light and on a phone in the dark: rule and place."""
    found = set()
    for size, theme in ((DESK, "light"), (PHONE, "dark")):
        page.set_viewport_size(size)
        page.reload()  # the theme looks at what scrolls when a page is opened
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
        run = Axe().run(page, options={"resultTypes": ["violations"]}).response
        found |= {
            f"{theme}: {rule['id']} at {node['target'][0]}"
            for rule in run["violations"] if rule["impact"] in SERIOUS for node in rule["nodes"]
        }  # fmt: skip
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_whole(visitor, address, name, seen):
    import playwright.sync_api as playwright

    page, wrong = visitor
    wrong.clear()
    page.goto(f"{address}/{name}.html")
    with contextlib.suppress(playwright.TimeoutError):  # then it is counted as not set
        page.wait_for_function(RENDERED)
    pictures = page.evaluate(f"{PICTURES}.map((img) => [img.alt.trim(), img.complete, img.naturalWidth])")
    undrawn = [one for one in pictures if not (one[0] and one[1] and one[2] > 100)]
    text = page.locator("article.bd-article").inner_text()
    unset = [*page.evaluate(UNSET), *re.findall(r"\$[^$\n]{1,80}\\[a-z]+", text)]
    overflow, faint = 0, set()
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        for theme in ("light", "dark"):
            page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
            overflow = max(overflow, _overflow(page))
            faint |= set(page.evaluate(CONTRAST) if size is DESK else ())
    outside = [words for words in wrong if words.startswith("asked for")]
    errors = [words for words in wrong if words not in outside]
    found = {"undrawn": undrawn, "unset": unset, "outside": outside, "errors": errors, "faint": faint}
    faults = _faults(page)
    numbers = {what: len(those) for what, those in found.items()} | {"overflow": overflow, "pictures": len(pictures)}
    numbers["faults"] = len(faults)
    seen["pages"].append({"page": name, **numbers, "formulas": page.locator(".math").count()})
    assert not any(found.values()), found
    assert overflow <= 0, "scrolls sideways"
    assert not faults
    assert (HTML / f"{name}.html").stat().st_size < LARGEST
    assert "Traceback" not in text


def test_search_lists_hits_in_files_without_a_server(visitor):
    page, _ = visitor  # a browser reads no excerpts of other files there, and says so in the console
    page.goto(f"{HTML.as_uri()}/search.html?q=temperature")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results a[href*='dcff_cifar10']").count() == 1
    page.goto("about:blank")  # what it still fetches in vain is not the next test's


def test_search_lists_hits(page, address):
    page.goto(f"{address}/search.html?q=temperature")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li").count() > 1
    assert page.locator("#search-results a[href*='dcff_cifar10']").count() == 1


def test_the_theme_can_be_switched(page, address):
    page.goto(f"{address}/index.html")
    button = page.locator("button.theme-switch-button").first
    seen = set()
    for _ in range(3):
        button.click()
        seen.add(page.evaluate("document.documentElement.dataset.theme"))
    assert seen == {"light", "dark"}


def _column(page, number):
    """The texts of a column, less the small print, of the rows that are shown."""
    return page.locator(".prune-results tbody tr:not([hidden])").evaluate_all(
        "(rows, number) => rows.map((row) => row.cells[number].firstChild.textContent.trim())", number
    )


@pytest.mark.parametrize("where", ["http", "file"])
def test_the_results_sort_and_filter(page, address, where):
    base = address if where == "http" else HTML.as_uri()
    page.goto(f"{base}/notebooks/results.html")
    given = _column(page, 0)
    flops = page.get_by_role("button", name="recounted").first
    flops.focus()
    page.keyboard.press("Enter")
    counts = [int(text.replace(",", "")) for text in _column(page, 4) if text != "–"]
    assert counts == sorted(counts)
    assert _column(page, 4)[-1] == "–"
    assert page.locator(".prune-results th[aria-sort=ascending]").count() == 1
    page.keyboard.press("Enter")
    counts = [int(text.replace(",", "")) for text in _column(page, 4) if text != "–"]
    assert counts == sorted(counts, reverse=True)
    page.keyboard.press("Enter")
    assert _column(page, 0) == given

    page.get_by_label("Counts").select_option("source inconsistent")
    inconsistent = _column(page, 7)
    assert 0 < len(inconsistent) < len(given)
    assert set(inconsistent) == {"source inconsistent"}
    page.get_by_label("Paper").select_option("DCFF")
    assert set(_column(page, 1)) == {"DCFF"}
    assert "counts=source+inconsistent" in page.url
    page.reload()
    assert page.get_by_label("Paper").input_value() == "DCFF"
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Find").fill("ResNet56 l1")
    found = _column(page, 0)
    assert found
    assert all("l1" in text for text in found)
    assert page.locator(".prune-controls output").inner_text() == f"{len(found)} of {len(given)} rows"
    page.get_by_label("Find").fill("no such row")
    assert _column(page, 0) == []


def _in_sight(page, row):
    return page.locator(f"[id='{row}']").evaluate(
        "(row) => { const box = row.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight }"
    )


def test_a_row_has_an_address_that_brings_it_into_sight(page, address):
    row = "dcff/cifar10/vgg16"
    page.goto(f"{address}/notebooks/results.html#{row}")
    page.wait_for_selector(".prune-controls")
    assert _in_sight(page, row)
    page.get_by_label("Paper").select_option("HRank")
    assert not page.locator(f"[id='{row}']").is_visible()
    page.evaluate("(row) => { location.hash = row }", row)
    page.wait_for_function(f"!document.getElementById('{row}').hidden")
    assert _in_sight(page, row)
    page.goto(f"{address}/notebooks/results.html#find=cdp%2Fcifar10%2F")
    page.reload()
    assert _column(page, 1)
    assert set(_column(page, 1)) == {"CDP"}


@pytest.mark.parametrize("name", ["results", "claims"])
def test_a_table_is_downloaded_whole_and_as_it_is_filtered(page, address, name):
    page.goto(f"{address}/notebooks/{name}.html")
    for kind, first in (("csv", b"row," if name == "results" else b"claim,"), ("json", b"[\n")):
        with page.expect_download() as got:
            page.locator(f"caption a[href$='{name}.{kind}']").first.click()
        assert got.value.path().read_bytes().startswith(first)
    page.get_by_label("Find").fill("cdp")
    shown = page.locator(".prune-sort").first.locator("tbody tr:not([hidden])").count()
    with page.expect_download() as got:
        page.get_by_role("button", name="Save these as CSV").click()
    assert got.value.suggested_filename == f"{name}.csv"
    assert len(got.value.path().read_text().splitlines()) == shown + 1 > 1


def test_claims_and_leagues_sort_and_have_addresses(page, address):
    page.goto(f"{address}/notebooks/claims.html")
    page.get_by_label("Verdict").select_option("supported here")
    claims = page.locator(".prune-sort").first.locator("tbody tr:not([hidden])")
    assert claims.count() > 0
    assert set(claims.locator("td:last-child").all_inner_texts()) == {"supported here"}
    league = page.locator(".prune-sort").last
    for _ in range(2):  # best first, as it stands; then the other way round
        league.get_by_role("button", name="Top-1").click()
    best = [float(text.split()[0]) for text in league.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert best == sorted(best, reverse=True)
    assert league.locator("tbody tr[id^='arena/']").count() == len(best)


def test_a_figure_has_a_number_a_caption_and_a_way_to_run_it(page, address):
    page.goto(f"{address}/notebooks/cdp_cifar10.html")
    figures, tables = page.locator("article figure"), page.locator("article .prune-numbered")
    for place, kind in ((figures, "Figure"), (tables, "Table")):
        said = place.locator(".caption-number").all_inner_texts()
        assert len(said) == place.count() > 1
        assert all(re.fullmatch(rf"{kind} \d+\.\d+\.", text.strip()) for text in said)
        assert place.locator("a[href='#run-this-page']").count() == place.count()
    assert page.locator("#run-this-page").is_visible()
    first = page.locator("article .prune-opening, article .prune-code, article .cell_input").first
    assert "prune-opening" in first.get_attribute("class"), "a chapter opens with what was found, not with code"


def test_a_result_opens_its_record(page, address):
    page.goto(f"{address}/notebooks/results.html")
    links = page.locator(".prune-results td:last-child a")
    row = links.first.evaluate("(a) => a.closest('tr').cells[0].querySelector('small').textContent")
    with page.expect_response(re.compile(r"\.json$")) as answer:
        links.first.click()
    assert answer.value.json()["row"] == row


def test_the_results_read_without_script(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/notebooks/results.html")
    assert page.locator(".prune-results tbody tr").count() > 100
    assert page.locator(".prune-results thead tr").last.inner_text().split()[:3] == ["Row", "Paper", "Network"]
    assert page.locator(".prune-controls").count() == 0
    context.close()
