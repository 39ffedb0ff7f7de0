"""Built-in optimizers: torch's, with every argument but `differentiable`, which a training has no use for, and adam's
`decoupled_weight_decay`, which makes it adamw."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher.spec.catalogue.entry import Arguments, Entry, Positive, Rate, Share

TWO = Field(min_length=2, max_length=2)
TwoShares = Annotated[list[Share], TWO]
TwoRates = Annotated[list[Positive], TWO]

FOREACH: Arguments = {"maximize": (bool, False), "foreach": (bool | None, None)}
"""foreach and fused: all parameters in a few kernels. Where they are not given torch chooses; fused on a GPU for adam, adamw."""
CAPTURABLE: Arguments = {**FOREACH, "capturable": (bool, False)}
FUSED: Arguments = {"fused": (bool | None, None)}
MOMENTS: Arguments = {"betas": (TwoShares, [0.9, 0.999]), "eps": (Rate, 1e-8), "weight_decay": (Rate, 0.0)}
ADAM: Arguments = {"lr": (Rate, 1e-3), **MOMENTS, "amsgrad": (bool, False), **CAPTURABLE, **FUSED}
DECOUPLED: Arguments = {"decoupled_weight_decay": (bool, False)}

OPTIMIZERS = (
    Entry("optimizer", "sgd", "torch.optim:SGD", "stochastic gradient descent", {
        "lr": (Rate, 1e-3), "momentum": (Rate, 0.0), "dampening": (float, 0.0), "weight_decay": (Rate, 0.0),
        "nesterov": (bool, False), **FOREACH, **FUSED}),
    Entry("optimizer", "adam", "torch.optim:Adam", "Adam (Kingma and Ba 2015)", ADAM),
    Entry("optimizer", "adamw", "torch.optim:AdamW", "Adam with decoupled weight decay (Loshchilov and Hutter 2019)",
          {**ADAM, "weight_decay": (Rate, 1e-2)}),
    Entry("optimizer", "nadam", "torch.optim:NAdam", "Adam with Nesterov momentum (Dozat 2016)",
          {"lr": (Rate, 2e-3), **MOMENTS, "momentum_decay": (Rate, 4e-3), **DECOUPLED, **CAPTURABLE}),
    Entry("optimizer", "radam", "torch.optim:RAdam", "Adam with a rectified first phase: needs no warm-up (Liu et al. 2020)",
          {"lr": (Rate, 1e-3), **MOMENTS, **DECOUPLED, **CAPTURABLE}),
    Entry("optimizer", "adamax", "torch.optim:Adamax", "Adam with the infinity norm (Kingma and Ba 2015)",
          {"lr": (Rate, 2e-3), **MOMENTS, **CAPTURABLE}),
    Entry("optimizer", "rmsprop", "torch.optim:RMSprop", "the gradient over its running root mean square (Hinton 2012)", {
        "lr": (Rate, 1e-2), "alpha": (Share, 0.99), "eps": (Rate, 1e-8), "weight_decay": (Rate, 0.0), "momentum": (Rate, 0.0),
        "centered": (bool, False), **CAPTURABLE}),
    Entry("optimizer", "adagrad", "torch.optim:Adagrad", "a rate for each parameter, smaller with each of its gradients "
          "(Duchi et al. 2011)", {
        "lr": (Rate, 1e-2), "lr_decay": (Rate, 0.0), "weight_decay": (Rate, 0.0), "initial_accumulator_value": (Rate, 0.0),
        "eps": (Rate, 1e-10), **FOREACH, **FUSED}),
    Entry("optimizer", "adadelta", "torch.optim:Adadelta", "Adagrad over a window (Zeiler 2012)", {
        "lr": (Rate, 1.0), "rho": (Share, 0.9), "eps": (Rate, 1e-6), "weight_decay": (Rate, 0.0), **CAPTURABLE}),
    Entry("optimizer", "asgd", "torch.optim:ASGD", "averaged stochastic gradient descent (Polyak and Juditsky 1992)", {
        "lr": (Rate, 1e-2), "lambd": (Rate, 1e-4), "alpha": (Rate, 0.75), "t0": (Rate, 1e6), "weight_decay": (Rate, 0.0),
        **CAPTURABLE}),
    Entry("optimizer", "rprop", "torch.optim:Rprop", "steps by the gradient's sign alone, for whole batches "
          "(Riedmiller and Braun 1993)", {
        "lr": (Rate, 1e-2), "etas": (TwoRates, [0.5, 1.2]), "step_sizes": (TwoRates, [1e-6, 50.0]), **CAPTURABLE}),
    Entry("optimizer", "adafactor", "torch.optim:Adafactor", "Adam with factored second moments: little memory "
          "(Shazeer and Stern 2018)", {
        "lr": (Rate, 1e-2), "beta2_decay": (Annotated[float, Field(le=0)], -0.8),
        "eps": (Annotated[list[Rate | None], TWO], [None, 1e-3]), "d": (Positive, 1.0), "weight_decay": (Rate, 0.0), **FOREACH}),
)  # fmt: skip
