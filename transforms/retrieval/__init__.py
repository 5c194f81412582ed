"""How documents are found: one module a kind, with its section of ``params.yaml``, its index and its search.

Acts on ``indexes/NAME`` of a retriever, to build it; reads documents, queries and vectors. A further kind is a module,
and its name here. May import ``models`` and what lies below it.
"""

from typing import Annotated

from pydantic import Field

from gangue.transforms.retrieval.bm25 import Bm25 as Bm25
from gangue.transforms.retrieval.dense import Dense as Dense

Settings = Annotated[Dense | Bm25, Field(discriminator="kind")]
