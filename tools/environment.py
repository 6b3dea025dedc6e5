"""Write environment.yml, the conda way to the same pins as requirements.lock."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# The same pins as requirements.lock, written by tools/environment.py (`make lock`).
#   conda env create -f environment.yml && conda activate prune-book && pip install --no-deps -e .
name: prune-book
channels: [conda-forge]
dependencies:
  - python>=3.11
  - pip
  - pip:
"""


def environment(lock: str) -> str:
    """The text of environment.yml for the text of requirements.lock."""
    pins = [line.strip() for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    return HEAD + "".join(f'      - "{pin}"\n' for pin in pins)


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment((ROOT / "requirements.lock").read_text()))
