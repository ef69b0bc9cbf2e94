"""The design: what it must do by arithmetic, and what it does in worlds of known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.design import PURE, grid, held, pilots, prior
from budgetplan.calibrate.design import MILESTONES, design
from budgetplan.calibrate.worth import Noise, Option, Prior
from budgetplan.core.errors import BadValue, OutOfDomain

TARGET = 1e21


def options(*sizes: float, ratios: tuple[float, ...] = (5, 10, 20, 40, 80)) -> list[Option]:
    return [
        Option(
            name=f"{size:g}",
            params=size,
            tokens=size * np.array(ratios),
            flops=6 * size * size * np.array(ratios),
        )
        for size in sizes
    ]


LADDER = tuple(float(size) for size in np.geomspace(1e7, 1e9, 12))


def known(**fields: float) -> Prior:
    return Prior(flops=TARGET, size=3e9, **fields)


def test_the_prior_is_a_surface_with_its_own_optimum() -> None:
    """alpha A / N^alpha = beta B / D^beta holds at the size that the prior names."""
    law = known().law(known().center[None])
    assert law.optimal_params(flops=np.array([TARGET])).item() == pytest.approx(3e9)
    tokens = TARGET / 6 / 3e9
    loss = law.loss(params=np.array([3e9]), tokens=np.array([tokens])).item()
    assert loss == pytest.approx(known().removable + known().floor)


def test_the_size_of_a_draw_is_its_optimum_whatever_its_exponents() -> None:
    points = known().draws(50, seed=3)
    sizes = known().law(points).optimal_params(flops=np.array([TARGET]))[:, 0]
    assert np.log(sizes) == pytest.approx(points[:, 0])


def test_before_any_run_the_spread_is_the_priors() -> None:
    found = design(known(size_spread=0.7), options(*LADDER), allowance=1e19)
    assert found.before == pytest.approx(0.7, rel=1e-6)


def test_more_allowance_teaches_more_and_is_never_exceeded() -> None:
    spreads = []
    for allowance in (1e18, 1e19, 1e20):
        found = design(known(), options(*LADDER), allowance=allowance)
        assert found.flops <= allowance
        assert found.flops == pytest.approx(sum(each.flops for each in found.chosen))
        spreads.append((found.after, found.decades))
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1][0] < spreads[0][0] < found.before


@settings(deadline=None, max_examples=6)
@given(st.floats(6e17, 1e20), st.integers(0, 5))
def test_every_design_keeps_its_promises(allowance: float, seed: int) -> None:
    found = design(known(), options(*LADDER), allowance=allowance, seed=seed)
    assert found.flops <= allowance
    assert found.after < found.before
    assert found.loss_after < found.loss_before
    spent = [flops for flops, _ in found.steps]
    assert spent == sorted(spent)
    assert len({each.option.name for each in found.chosen}) == len(found.chosen) >= 5


def test_it_is_the_same_every_time() -> None:
    first, second = (design(known(), options(*LADDER), allowance=1e19) for _ in range(2))
    assert [(a.option.name, a.milestones) for a in first.chosen] == [
        (b.option.name, b.milestones) for b in second.chosen
    ]


def test_milestones_of_a_run_are_free() -> None:
    """A run measured along its way teaches more than the same run measured at its end."""
    along = design(known(), options(*LADDER), allowance=1e19)
    ends = design(known(), options(*LADDER, ratios=(80.0,)), allowance=1e19)
    assert along.after < ends.after


def test_shared_noise_is_not_averaged_away_by_milestones() -> None:
    quiet = design(known(), options(*LADDER), allowance=1e19, noise=Noise(run=0.0))
    shared = design(known(), options(*LADDER), allowance=1e19, noise=Noise(run=0.02))
    assert shared.after > 1.2 * quiet.after


def test_the_covariance_by_hand() -> None:
    """run^2 + off^2 e_i e_j, and milestone^2 on the diagonal: 1 + 4 x 2 x 3 = 25 and so on."""
    found = Noise(run=1.0, milestone=3.0, off=2.0).covariance(np.array([2.0, 3.0]))
    assert found == pytest.approx(np.array([[1 + 16 + 9, 25.0], [25.0, 1 + 36 + 9]]))


def test_training_the_target_itself_leaves_no_doubt_about_its_loss() -> None:
    """Measured without noise at the prior's best size; the others only make up the number."""
    at_target = Option(
        name="target", params=3e9, tokens=np.array([TARGET / 18e9]), flops=np.array([1.0])
    )
    rest = options(*LADDER)
    noise = Noise(run=1e-6, milestone=1e-6, off=0.0)
    found = design(known(), [at_target, *rest], allowance=1e18, noise=noise)
    assert found.loss_after < 0.02
    assert found.loss_before > 0.3


def test_an_allowance_too_small_names_the_smallest_that_works() -> None:
    with pytest.raises(BadValue, match="too small") as error:
        design(known(), options(*LADDER), allowance=1e15)
    number = float(error.value.remedy.split("--spend ")[1].split(",")[0])
    # By hand: the five smallest sizes, up to their third milestone, 6 N x 20 N each.
    by_hand = sum(6 * size * size * 20 for size in LADDER[:5])
    assert number == pytest.approx(by_hand, rel=0.01)
    found = design(known(), options(*LADDER), allowance=number)
    assert len(found.chosen) >= 5
    assert all(each.milestones >= MILESTONES for each in found.chosen)


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(OutOfDomain, match="3 sizes"):
        design(known(), options(1e7, 2e7, 4e7), allowance=1e20)


def test_intervals_hold_in_worlds_of_known_truth() -> None:
    """`python -m benchmarks.design` counts 200 worlds; these few leave room for chance."""
    designed, plan = pilots()
    found = held(plan, worlds=20, noise=PURE)
    assert found.covered >= 0.8
    assert found.half_width < 0.5 * 1.645 * prior().size_spread
    # The design promised this spread before it knew any loss.
    assert found.half_width == pytest.approx(1.645 * designed.after, rel=0.4)


def test_a_grid_of_four_times_the_cost_knows_less() -> None:
    found, plan = pilots()
    small = held(plan, worlds=6)
    large = held(grid(4 * found.flops), worlds=6)
    assert small.half_width < large.half_width
