"""A campaign: drawn networks × every quantity × every backend, against an evaluator that shares no code with graphbp.

    python -m tests.campaign --minutes 20 --processes 2         # from the checkout; --help has the rest

`draw` makes a network and a batch from a seed, `reference` says what every quantity should be and how far rounding may take it,
`compare` asks the backends, `shrink` makes what is wrong small and prints it as a program, `run` counts.
"""
