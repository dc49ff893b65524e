"""What a `_target_` accepts: defaults filled in, wrong values named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from worldmodel.cli.signatures import check, fill_defaults, known_keys
from worldmodel.errors import ConfigError

HERE = "tests.worldmodel.cli.test_signatures"


@dataclass(frozen=True)
class Inner:
    width: int
    name: str = "inner"


def outer(
    run: object,
    *,
    inner: Inner,
    several: Sequence[Inner] = (),
    count: int | None = None,
    rate: float = 1.0,
    way: Literal["up", "down"] = "up",
    maybe: str | Inner | None = None,
    make: Callable[[], int] | None = None,
    anything: Any = 3,
) -> None:
    """Take a bit of everything."""


def settings(**changes: Any) -> dict[str, Any]:
    inner = {"_target_": f"{HERE}.Inner", "width": 3}
    return {"_target_": f"{HERE}.outer", "inner": inner, **changes}


def test_defaults_are_filled_in_at_every_depth() -> None:
    filled = fill_defaults(settings(several=[{"_target_": f"{HERE}.Inner", "width": 1}]))
    assert filled["rate"] == 1.0 and filled["count"] is None and filled["anything"] == 3
    assert filled["inner"]["name"] == "inner"
    assert filled["several"][0]["name"] == "inner"
    assert "run" not in filled
    assert "name" not in settings()["inner"]  # the argument stays as it was


def test_known_keys_are_those_of_the_signatures_too() -> None:
    keys = set(dict(known_keys(settings())))
    assert {"inner", "inner.width", "inner.name", "rate", "several"} <= keys
    assert "run" not in keys and "_target_" not in keys


@pytest.mark.parametrize(
    "fine",
    [
        {"count": 2},
        {"count": None},
        {"rate": 2},  # a whole number is a number
        {"way": "down"},
        {"maybe": "text"},
        {"maybe": {"_target_": f"{HERE}.Inner", "width": 2}},
        {"make": {"_target_": f"{HERE}.Inner", "_partial_": True}},  # what is missing comes later
        {"anything": [1, "a"]},
        {"seed": 0, "name": "x"},  # a run's own
    ],
)
def test_what_fits_passes(fine: dict[str, Any]) -> None:
    check(settings(**fine))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cuont": 1}, "outer has no such setting; did you mean 'count'"),
        ({"count": 1.5}, "count=1.5 must be a whole number, got float"),
        ({"count": True}, "count=True must be a whole number, got bool"),
        ({"rate": "fast"}, "rate=fast must be a number"),
        ({"rate": None}, "rate is not set: say what it is with rate=..."),
        ({"way": "dwn"}, "way=dwn is unknown; did you mean 'down'"),
        ({"inner": None}, "inner is not set"),
        ({"inner": {"_target_": f"{HERE}.Inner"}}, "inner.width is missing: "),
        (
            {"inner": {"_target_": f"{HERE}.Inner", "width": 1, "seed": 2}},
            "Inner has no such setting",
        ),
        ({"several": [{"_target_": f"{HERE}.Inner", "width": "a"}]}, "several.width=a must be"),
    ],
)
def test_what_does_not_fit_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(settings(**wrong))
    assert says in str(caught.value)


def test_a_missing_argument_of_the_verb_is_named() -> None:
    with pytest.raises(ConfigError, match="inner is missing: .*outer needs it"):
        check({"_target_": f"{HERE}.outer"})


def test_a_target_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="nowhere: cannot be imported"):
        check({"_target_": "nowhere"})
