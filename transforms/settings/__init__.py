"""What a setting must be: sections of ``params.yaml`` with their ranges, and what is said of a mistake in them.

What may be touched: values that somebody wrote. It imports nothing of ours, so that every other package may import it.
"""
