"""What the sections of the params are made of: their base, plain types, and the words for what is wrong in them.

A section that belongs to one kind (a rule, a retriever, …) lies beside the code of that kind. Acts on plain values of a
params file. Imports nothing of the other rooms.
"""
