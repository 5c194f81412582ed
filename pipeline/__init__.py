"""One module per stage of ``dvc.yaml``: what it reads, what it writes, and one Beam pipe between them."""

import logging

# Beam says at every import that it lacks BigQuery's client, which nothing here uses.
logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())
