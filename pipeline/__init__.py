"""The stages of ``dvc.yaml``, a module each: what it reads, what it writes, and one Beam pipe between them.

They lay work on Beam and hold its counts against its files; what is done to arrays lies in ``gangue.transforms``.
May import every room. ``command``: the command line. ``report``: the report of a job.
"""

if __name__ != "gangue.pipeline":
    raise ImportError(f"{__name__} is gangue.pipeline: a module has one name. Import that")

STAGES = {
    "ingest": "",
    "embed": "encoders",
    "cluster": "encoders",
    "plan": "",
    "retrieve": "retrievers",
    "pool": "",
    "teach": "scorers",
    "score": "scorers",
    "learn": "",
    "calibrate": "",
    "filter": "",
    "sample": "",
    "export": "",
    "audit": "",
}
"""Stages in their order, and the section of the params that names what each is run for; "": it is run once."""
