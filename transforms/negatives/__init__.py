"""Choosing negatives among the kept candidates, and how much each counts.

``samplers``, ``weights`` and ``diverse`` hold one module for each way to do so. Acts on candidates and verdicts of one
shard; may import ``relevance`` and below.
"""
