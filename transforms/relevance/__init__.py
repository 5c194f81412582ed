"""How likely a candidate is a positive that nobody labelled: features, classifiers, and the labelled share.

Acts on the pairs of one shard of queries, and on examples drawn from all. May import ``candidates`` and below.
"""
