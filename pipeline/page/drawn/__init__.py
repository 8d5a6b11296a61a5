"""Answers as pictures: boxes, masks, points, series and images, as they were given to a sample.

`computed.py` has them computed once more on this machine, in a process of its own, and says by
check sums whose measured answers they are bit for bit; `DRAWERS` in `answers.py` names, for each
task, the module that draws.
"""
