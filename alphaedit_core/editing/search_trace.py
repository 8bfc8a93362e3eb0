"""What a search for a target value did at every step."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Trace:
    """What happened to one fact in the search, one number per evaluation of the loss.

    Attributes:
        nll: mean negative log-likelihood of the target's tokens, over the rows (nats).
        kl: KL divergence from the distribution before, times its factor.
        decay: penalty on the length of delta, times its factor.
        probability: mean over the rows of the geometric mean of the target tokens' probabilities.
        delta: norm of delta relative to that of what it is added to (of PMET's two, the MLP's).
        clamped: True if delta was last cut back to its longest allowed length.
        converged: True if the loss came under ``loss_stop``.
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
        """The sum of the three terms at every evaluation."""
        return [sum(terms) for terms in zip(self.nll, self.kl, self.decay, strict=True)]
