"""The commands of ``device-runner``, one module each: its arguments, and what it does.

numpy and the runtimes are imported by the functions that need them: --help must answer at once on
a small board.
"""
