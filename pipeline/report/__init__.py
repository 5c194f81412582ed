"""The report of a job: one page, its charts, and the numbers as files.

Acts on what ``audit`` summed up, and writes into the folder of the reports only. May import every room of the library.
"""
