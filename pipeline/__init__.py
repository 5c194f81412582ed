"""One module per stage of ``dvc.yaml``: what it reads, what it writes, and one Beam pipe between them."""
