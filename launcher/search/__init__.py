"""Sweeps, cross-validation, pruning: which trainings of a job are made, and what comes of them. Only this room knows Optuna.

space      fields of the job -> Optuna's distributions, and back
sequence   which parameters the k-th trial has: a function of the spec, the seed and the values before it
trials     a sweep's directory: its trials, their values, results.csv and best.yaml
slots      shares of the machines, and of the pool of agents, for one trial at a time each
loop       who runs where and when, until none is left
"""
