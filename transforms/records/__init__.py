"""From records of any source to rows: equal ones merged, contradictory ones rejected, near-duplicates grouped, sorted.

Acts on records by the million through files on disk. May import ``sources`` and what lies below it.
"""
