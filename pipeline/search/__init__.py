"""The smallest network within a budget: what its steps cost on the target, before training.

`steps` cuts a written graph into what a runtime executes as one; `probes` makes a tiny file of
each; `probing` has them measured, `kept` keeps the times; `additive` adds them up; `structure` says
what is left of a network, `narrowing` makes that of its graph; `predict` tells what a cut brings.
"""
