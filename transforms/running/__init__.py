"""How work is spread: shards as Beam's elements, worker processes, progress, and how a command ends.

The only room that knows Beam. Acts on names of shards, never on rows. May import ``datasets`` and what lies below it.
"""
