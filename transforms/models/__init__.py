"""Models: found, loaded, checked and run over many texts, and what they made kept under their fingerprint.

Acts on texts, vectors and folders of weights. May import ``records`` and what lies below it.
"""
