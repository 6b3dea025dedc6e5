"""Run by the Python that has repo2docker: what it would do with this folder, as JSON. Nothing is built."""

import json
import re

from repo2docker.app import Repo2Docker

for kind in Repo2Docker().buildpacks:
    pack = kind("base")
    if pack.detect():
        pack.platform = "linux/amd64"
        steps = re.findall(r"^RUN (.*(?:pip install|binder).*)$", pack.render(), re.MULTILINE)
        print(json.dumps({"pack": kind.__name__, "python": pack.python_version, "steps": steps}))
        break
