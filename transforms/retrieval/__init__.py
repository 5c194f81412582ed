"""How documents are found: one module a kind, with its section of ``params.yaml``, its index and its search.

What may be touched: ``indexes/NAME`` of a retriever, to build it; documents, queries and vectors, to read them. It may
import ``settings``, datasets and pure functions, not Beam. A further kind is a module, and its name here.
"""

from typing import Annotated

from pydantic import Field

from gangue.transforms.retrieval.bm25 import Bm25 as Bm25
from gangue.transforms.retrieval.dense import Dense as Dense

Settings = Annotated[Dense | Bm25, Field(discriminator="kind")]
