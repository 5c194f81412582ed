"""Datasets on disk: shards, their schemas, who may write them, and rows fetched by number.

Acts on files under one root, local or remote. May import ``settings``, ``arrays``,
``at_hand``, ``text`` and ``randomness``.
"""
