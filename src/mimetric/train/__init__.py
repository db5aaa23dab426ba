"""Training and comparing objectives on one budget.

``options`` how, ``loop`` one run, ``compare`` many runs and their table, ``checkpoint`` a model on disk.
"""
