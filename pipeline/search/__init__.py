"""The smallest network within a budget: what its steps cost on the target, measured before training.

`steps` cuts a written graph into what a runtime executes as one; `probes` makes a tiny file of each;
`probing` has them measured and keeps the times; `additive` adds them up; `predict` tells what a cut
brings.
"""
