"""The ``gangue`` command: what is typed, checked before anything runs, and printed.

Acts on params files, paths and the terminal, and writes no dataset. May import everything.
"""
