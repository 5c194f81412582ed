"""The pairs of a shard of queries: pooled, related to the positives, and judged by rules.

Acts on pairs as arrays; reads datasets, and writes none. May import ``retrieval`` and what lies below it.
"""
