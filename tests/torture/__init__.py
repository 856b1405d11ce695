"""The fault campaign: ``make torture``, or ``python -m tests.torture [KIND[=TRIALS] ...] [--seed N] [--trials N]``.

Every kind of fault does its damage at points that the seed determines, and then asks the same of all: no file that is
not whole is read as good, what was finished is kept, the same command again ends with the bits of an undisturbed one,
and whatever is refused is refused by name. The exit status is 1 if one trial failed.
"""
