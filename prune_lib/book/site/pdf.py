"""The whole book as one PDF, without TeX: Sphinx puts all pages into one, and Chromium prints it. ``make pdf``."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from ...system.errors import InputError
from ...system.paths import home

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--no-pdf-header-footer",
    "--generate-pdf-document-outline", "--virtual-time-budget=120000",
)  # fmt: skip
LONGEST = 900  # seconds that printing may take
LEADS_OUT = re.compile(r'(<a\b[^>]*?) href="(?!#|https?:|mailto:)[^"]*"')


def pdf() -> Path:
    """Make ``book/_build/book.pdf`` of the notebooks that were executed, and return its path.

    Raises:
        InputError: no Chromium, no executed notebooks, or Sphinx or Chromium failed.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise InputError(f"no browser to print with; expected one of {' '.join(BROWSERS)} (apt-get install chromium)")
    root = home() / "book"
    if not any((root / "notebooks").glob("*.ipynb")):
        raise InputError(f"no executed notebooks in {root / 'notebooks'}; run 'prune book' first")
    tool = Path(sys.executable).with_name("jupyter-book")
    words = [str(tool), "build", "--quiet", "--builder", "singlehtml", str(root)]
    if subprocess.run(words, check=False).returncode:
        raise InputError("the single page did not build; what is wrong is said above")
    page = root / "_build" / "singlehtml" / "index.html"
    printed = page.with_name("print.html")
    printed.write_text(to_print(page.read_text(encoding="utf-8")), encoding="utf-8")
    target = root / "_build" / "book.pdf"
    target.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [browser, *FLAGS, f"--print-to-pdf={target}", printed.as_uri()],
            capture_output=True, text=True, timeout=LONGEST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"{browser} did not print the book in {LONGEST} seconds") from None
    if done.returncode or not target.is_file():
        raise InputError(f"{browser} did not print the book: {done.stderr.strip().splitlines()[-1:]}")
    return target


def to_print(page: str) -> str:
    """The page without links to files that are not in a PDF, so that it names no folder of this machine.

    Links within the page and to the network stay.
    """
    return LEADS_OUT.sub(r"\1", page)


if __name__ == "__main__":
    try:
        print(f"The book on paper: {pdf()}")
    except InputError as error:
        sys.exit(f"pdf: {error}")
