"""Hard but not false negatives for retrievers and rerankers.

``gangue.pipeline``: the stages, the command line and the report.   ``gangue.transforms``: the library below them.
"""
