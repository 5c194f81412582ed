"""What the sections of the params are made of: their base, plain types, and the words for what is wrong in them.

Each section lies beside the code that it is for; a section and its messages may be changed there. Every module may
read these, and these import nothing else of the project.
"""
