"""Record of a target search, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Trace:
    """Loss terms of one fact in the target search, one number per evaluation.

    Attributes:
        nll: mean negative log-likelihood of the target's tokens, averaged over the rows, in nats.
        kl: KL divergence from the prediction before the search, times ``kl_factor``, in nats.
        decay: penalty on the norm of delta, times ``weight_decay``.
        probability: mean over the rows of the geometric mean of the target tokens' probabilities.
        delta: norm of delta, relative to the output it is added to (the MLP's for PMET).
        clamped: True if the last step was clamped to the maximum norm.
        converged: True if the loss fell below ``loss_stop``.
    """

    nll: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    decay: list[float] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    delta: list[float] = field(default_factory=list)
    clamped: bool = False
    converged: bool = False

    @property
    def loss(self) -> list[float]:
        """The sum of the three loss terms at every evaluation."""
        return [sum(terms) for terms in zip(self.nll, self.kl, self.decay, strict=True)]
