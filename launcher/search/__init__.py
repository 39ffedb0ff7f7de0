"""Sweeps, cross-validation, pruning: which trainings of a job are made, and what comes of them. Only this room knows Optuna.

space      fields of the job -> Optuna's distributions, and back
sequence   which parameters the k-th trial has: a function of the spec, the seed and the values before it
study      Optuna, asked once per trial; gaussian processes in a process of their own (gaussian)
journal    what was drawn, before it is run, and what came of it
rungs      pruning
trials     a sweep's directory: its trials, their values, results.csv and best.yaml
slots      shares of the machines, and of the pool of agents, for one trial at a time each
board      all trials as one process knows them: drawn, waiting, ended
company    one process that has a sweep for itself
tasks      one of several, each a task of an array
loop       who runs where and when, until none is left
conduct    a sweep from the beginning of a process to its end
tally      how a sweep stands, folded from its ledger
preview    what a sweep would do, and what it would cost (pace)
plots      pictures, in a process of their own
objective  the same over any Python function, called here or in others (calling)
"""
