"""Thresholds that results of the quickstart should reach, and the baselines beside them.

A threshold that is missed is shown as missed; nothing here changes what a program does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A number has to be at least, or at most, `value`."""

    value: float
    at_least: bool = True

    def met_by(self, number: float) -> bool:
        """True if `number` reaches the threshold; NaN never does."""
        return number >= self.value if self.at_least else number <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


THRESHOLDS = {
    "probe.position_r2": Threshold(0.98),
    "probe.velocity_r2": Threshold(0.80),
    "plan.success": Threshold(0.95),
    "plan.success_other_room": Threshold(0.90),
    "plan.already_solved": Threshold(0, at_least=False),
    "guardrail.violation_rate": Threshold(0.05, at_least=False),
    "guardrail.violation_rate_off": Threshold(0.30),
    "guardrail.success": Threshold(0.80),
    "surprise.teleport.pair_accuracy": Threshold(0.95),
    "surprise.vanish.pair_accuracy": Threshold(0.95),
    "seconds.total": Threshold(900, at_least=False),
    "memory.peak_gib": Threshold(4, at_least=False),
}

# The result that shows what knowing little gives, by the result that it stands beside.
BASELINES = {
    "probe.position_r2": "probe.random_init_position_r2",
    "probe.velocity_r2": "probe.random_init_velocity_r2",
    "probe.pretrained_position_r2": "probe.random_init_position_r2",
    "probe.pretrained_velocity_r2": "probe.random_init_velocity_r2",
    **{
        f"probe.{name}.accuracy": f"probe.{name}.random_init_accuracy"
        for name in ("attentive", "linear", "knn")
    },
    "plan.success": "plan.random_success",
    "plan.gradient_success": "plan.random_success",
    "guardrail.violation_rate": "guardrail.violation_rate_off",
    **{
        f"surprise.{kind}.pair_accuracy": f"surprise.{kind}.pixel_pair_accuracy"
        for kind in ("teleport", "vanish", "colour")
    },
}


INTERVAL = ("n", "low", "high")
"""The count and the 95 % interval of a result `x` are the results `x.n`, `x.low` and `x.high`."""


def whole(results: Iterable[str]) -> list[str]:
    """The names that are not the count or a bound of another result."""
    names = list(results)
    parts = {f"{name}.{part}" for name in names for part in INTERVAL}
    return [name for name in names if name not in parts]


def threshold_of(name: str, *, verb: str = "quickstart") -> Threshold | None:
    """The threshold of a result of a run of `verb`, if it has one."""
    return THRESHOLDS.get(name if verb == "quickstart" else f"{verb}.{name}")


def baseline_of(
    name: str, results: Mapping[str, float], *, verb: str = "quickstart"
) -> float | None:
    """The baseline beside a result of a run of `verb`, if it was measured."""
    prefix = "" if verb == "quickstart" else f"{verb}."
    baseline = BASELINES.get(prefix + name)
    return None if baseline is None else results.get(baseline.removeprefix(prefix))
