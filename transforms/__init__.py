"""What the stages do: rooms named by what their modules act on, from ``evidence`` down to ``settings``.

A room imports those below it only (docs/architecture.md); ``arrays``, ``text`` and ``randomness`` serve them all.
Only ``running`` knows Beam.
"""

if __name__ != "gangue.transforms":
    raise ImportError(f"{__name__} is gangue.transforms: a module has one name. Import that")
