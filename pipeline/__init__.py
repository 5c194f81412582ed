"""One module per stage of ``dvc.yaml``: what it reads, what it writes, and one Beam pipe between them."""

import gc
import logging
import sys

# Beam says at every import that it lacks BigQuery's client, which nothing here uses.
logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())

if sys.argv[0] == "-m":  # ``python -m pipeline.STAGE`` loads its libraries for some seconds before it catches anything
    _shown = sys.excepthook

    def _interrupted(kind: type[BaseException], *rest: object) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            return _shown(kind, *rest)  # type: ignore[arg-type]
        return print("gangue: interrupted before the stage began. Run the same command to go on", file=sys.stderr)  # noqa: T201

    sys.excepthook = _interrupted
    gc.disable()  # to look for garbage in what loads now takes a fifth of the time; commandline.main enables it
