"""Other programs, each trained by its own code in an environment of its own, for the benchmarks that compare with them.

Every module here is run by a program's own Python, so that it imports nothing of gan_core unless it is ours.
"""
