"""Run by the Python that has mlcroissant: ``python croissant.py FILE``; prints what it loads of each set."""

import json
import sys

import mlcroissant

dataset = mlcroissant.Dataset(sys.argv[1])  # raises where the file is not valid
loaded = {
    found.uuid: [dict(record) for record in dataset.records(found.uuid)] for found in dataset.metadata.record_sets
}
print(json.dumps({name: [len(records), sorted(records[0])] for name, records in loaded.items()}))
