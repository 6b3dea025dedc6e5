"""What pyproject.toml cannot say: a wheel holds the committed records too, as ``prune_lib/results``.

They are less than 0.3 MiB of JSON, and what ``prune table`` shows; trained weights stay in the repository.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecords(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # then the package is in a checkout, which has them
            return
        for record in sorted(Path("results").rglob("*.json")):
            if not record.name.startswith(("smoke-", ".")) and record.parent.name != "browser":
                copy = Path(self.build_lib, "prune_lib", record)
                self.mkpath(str(copy.parent))
                self.copy_file(str(record), str(copy))


setup(cmdclass={"build_py": BuildWithRecords})
