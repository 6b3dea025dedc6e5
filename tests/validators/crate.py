"""Run by the Python that has roc-validator and rocrate: ``python crate.py FOLDER LEVEL``; prints JSON.

The validator reads RO-Crate's JSON-LD context from the web. Here it gets the one that the package rocrate brings (of
1.3, which has all terms of 1.2), so that a test asks nothing of the network. Addresses of the web are not looked up.
"""

import io
import json
import sys
from importlib.resources import files
from urllib.response import addinfourl

import rdflib.parser
import requests
from rocrate_validator import services
from rocrate_validator.models import Severity
from rocrate_validator.utils.http import HttpRequester

CONTEXT = (files("rocrate") / "data" / "ro-crate.jsonld").read_bytes()
ADDRESS = "https://w3id.org/ro/crate/1.2/context"


def opened(request):
    """For rdflib: an answer as urllib gives it."""
    if request.full_url != ADDRESS:
        raise OSError(f"asked for {request.full_url}")
    return addinfourl(io.BytesIO(CONTEXT), {"content-type": "application/ld+json"}, ADDRESS, 200)


class Requester:
    """For the validator: an answer as requests gives it."""

    def get(self, url, **_):
        if url != ADDRESS:
            raise OSError(f"asked for {url}")
        answer = requests.Response()
        answer.status_code, answer.url, answer.raw = 200, url, io.BytesIO(CONTEXT)
        answer.headers["Content-Type"] = "application/ld+json"
        return answer

    head = get


rdflib.parser._urlopen = opened
HttpRequester.__new__ = lambda cls, *args, **more: Requester()

found = services.validate({
    "rocrate_uri": sys.argv[1], "profile_identifier": "ro-crate-1.2", "requirement_severity": Severity[sys.argv[2]],
    "abort_on_first": False, "skip_availability_check": True,
})  # fmt: skip
issues = [f"{issue.severity.name}: {issue.message} ({issue.violatingEntity})" for issue in found.get_issues()]
print(json.dumps({"passed": found.passed(), "issues": issues}))
