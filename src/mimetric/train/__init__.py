"""Training and comparing objectives on one budget.

``options`` say how.  ``loop`` moves one run on, by ``batches`` and a ``learner``; ``checkpoint`` and ``state`` bring it
to disk and back.  ``watched`` looks at it on the way; ``run`` is one such run in a folder, ``compare`` many of them.
"""
