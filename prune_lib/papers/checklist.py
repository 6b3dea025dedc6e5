"""The Machine Learning Reproducibility Checklist, v2.0 of April 2020 (Pineau; arXiv 2003.12206), in our words.

What a paper's text or code says to an item stands in its YAML under ``paper``, ``says``, with the place where it says
so; what its tables, claims and our records answer is computed (``prune_lib.book.review``).
"""

ITEMS: dict[str, tuple[str, str]] = {  # name -> (what of, question)
    "algorithm": ("Models and algorithms", "the setting, algorithm or model described clearly"),
    "assumptions": ("Models and algorithms", "assumptions explained"),
    "complexity": ("Models and algorithms", "complexity analysed: time, space, sample size"),
    "statement": ("Theoretical claims", "each claim stated clearly"),
    "proof": ("Theoretical claims", "each claim proved completely"),
    "statistics": ("Data sets", "relevant statistics, such as how many examples"),
    "splits": ("Data sets", "training, validation and test splits"),
    "preprocessing": ("Data sets", "what was excluded, and every step of preprocessing"),
    "download": ("Data sets", "a link to the data"),
    "collection": ("Data sets", "for new data, how it was collected and checked"),
    "dependencies": ("Code", "dependencies specified"),
    "training": ("Code", "code that trains"),
    "evaluation": ("Code", "code that evaluates"),
    "models": ("Code", "trained models"),
    "commands": ("Code", "a README with the results and the exact command for each"),
    "hyperparameters": ("Results", "all hyperparameters, their range, and how they were chosen"),
    "runs": ("Results", "the exact number of training and evaluation runs"),
    "measure": ("Results", "the measure or statistic defined"),
    "variation": ("Results", "a mean, and how results vary"),
    "runtime": ("Results", "run time of each result, or energy"),
    "infrastructure": ("Results", "the machines that were used"),
}
