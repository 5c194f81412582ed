"""What is known of a result: leak, frontier, intervals, checks of every row, and where the rows come from.

Acts on datasets that are done, and changes none. May import every room below it.
"""
