import pytest
import torch
from einops import rearrange

from tests.worldmodel.toys import seeded, small
from worldmodel.errors import ConfigError
from worldmodel.objectives.masked_pixels import MaskedPixels
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import (
    AllButOne,
    Blocks,
    Future,
    MaskMixture,
    RandomTokens,
    TokenMasks,
    Tubes,
    distance_to_hidden,
)
from worldmodel.objectives.regularisers import NoRegulariser
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.types import Mask

GRID = (3, 4, 6)


class Corner(TokenMasks):
    """Hides a given number of tokens of each sample."""

    def __init__(self, *counts):
        self.counts = counts

    def hidden(self, batch, grid, generator):
        t, h, w = grid
        flat = torch.arange(t * h * w) < torch.tensor(self.counts)[:, None]
        return rearrange(flat, "b (t h w) -> b t h w", t=t, h=h, w=w)


@pytest.mark.parametrize("kind", [Tubes(), Tubes(blocks=2, scale=0.7), Tubes(1, 0.01)])
def test_tubes_hide_the_same_columns_at_all_times_and_leave_something(kind):
    for seed in range(20):
        hidden = kind.hidden(16, GRID, seeded(seed))
        assert hidden.shape == (16, *GRID)
        assert (hidden == hidden[:, :1]).all()
        assert hidden.flatten(1).any(1).all() and not hidden.flatten(1).all(1).any()


def test_one_tube_is_a_rectangle_of_its_scale():
    hidden = Tubes(blocks=1, scale=0.25, aspect=(1, 1)).hidden(50, (1, 8, 8), seeded())[:, 0]
    assert (hidden.sum((1, 2)) == 16).all()
    assert (hidden.any(2).sum(1) == 4).all() and (hidden.any(1).sum(1) == 4).all()
    assert len(hidden.flatten(1).unique(dim=0)) > 5  # a place for each sample


def test_blocks_are_rectangles_of_one_size_and_what_is_around_them_is_seen():
    """I-JEPA: none of the blocks is seen, whichever of them is predicted."""
    kind, grid = Blocks(), (2, 8, 8)
    for seed in range(20):
        seen, blocks = kind.parts(16, grid, seeded(seed))
        assert seen.shape == (16, *grid) and blocks.shape == (16, 4, *grid)
        assert not (seen[:, None] & blocks).any() and seen.flatten(1).any(1).all()
        assert (blocks == blocks[:, :, :1]).all()
        h, w = (blocks[:, :, 0].any(axis).sum(-1) for axis in (-1, -2))
        assert len(h.unique()) == len(w.unique()) == 1
        assert (h * w == blocks[:, :, 0].sum((-1, -2))).all() and 9 <= h[0, 0] * w[0, 0] <= 15
        first, *others = MaskMixture([kind], [1]).apart(kind, 16, grid, seeded(seed))
        assert len(others) == 3 and all(torch.equal(m.context, first.context) for m in others)
        assert seen.flatten(1).gather(1, first.context).all()
        for number, mask in enumerate((first, *others)):
            assert blocks[:, number].flatten(1).gather(1, mask.targets).all()
            assert mask.targets.shape[1] == 2 * h[0, 0] * w[0, 0]


def test_blocks_never_leave_nothing_to_see():
    kind = Blocks(4, (0.25, 0.25))  # four of a quarter each on four quarters
    seen, blocks = kind.parts(64, (1, 2, 2), seeded())
    assert seen.flatten(1).any(1).all() and (blocks.sum((-1, -2, -3)) == 1).all()
    hidden = kind.hidden(64, (1, 2, 2), seeded())
    assert torch.equal(hidden, blocks.any(1))
    with pytest.raises(ConfigError, match="leaves a sample with nothing to see"):
        MaskMixture([kind], [1]).apart(kind, 2, (1, 1, 1), seeded())


def test_how_far_visible_tokens_are_from_hidden_ones():
    mask = Mask(torch.tensor([[0, 5, 11]]), torch.tensor([[4, 6]]))  # on 3 x 2 x 2
    assert distance_to_hidden(mask, (3, 2, 2)).tolist() == [
        pytest.approx([1.0, 1.0, 2.0**0.5], abs=1e-6)
    ]


def test_masks_come_from_the_generator_alone():
    first, again, other = (Tubes().hidden(4, GRID, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_frame_of_one_token_cannot_be_masked_by_tubes():
    with pytest.raises(ConfigError, match="nothing to predict: change its scale"):
        MaskMixture([Tubes()], [1]).tokens(Tubes(), 2, (4, 1, 1), seeded())


def test_future_hides_the_end():
    assert Future(2).hidden(5).tolist() == [[False, False, False, True, True]]


@pytest.mark.parametrize("steps", [0, 3, 4])
def test_future_must_leave_something_to_see_and_to_predict(steps):
    with pytest.raises(ConfigError, match="nothing to see in 3 time steps"):
        Future(steps).hidden(3)


def test_time_steps_show_each_time_step_alone_once():
    hidden = AllButOne().hidden(4)
    assert hidden.shape == (4, 4)
    assert torch.equal(~hidden, torch.eye(4, dtype=torch.bool))
    with pytest.raises(ConfigError, match="longer clips"):
        AllButOne().hidden(1)


def test_seen_and_hidden_tokens_are_disjoint_and_increase():
    kind, grid = Tubes(), (3, 8, 8)
    mask = MaskMixture([kind], [1]).tokens(kind, 32, grid, seeded(5))
    hidden = rearrange(kind.hidden(32, grid, seeded(5)), "b t h w -> b (t h w)")
    assert not hidden.gather(1, mask.context).any()
    assert hidden.gather(1, mask.targets).all()
    assert (mask.context.diff(dim=1) > 0).all() and (mask.targets.diff(dim=1) > 0).all()
    # All samples keep as many as the one that has least: none is left out without need.
    assert mask.context.shape[1] == int((~hidden).sum(1).min())
    assert mask.targets.shape[1] == int(hidden.sum(1).min())


def test_samples_that_hide_different_numbers_still_form_a_tensor():
    mask = MaskMixture([Corner(5, 9)], [1]).tokens(Corner(5, 9), 2, (2, 3, 4), seeded())
    assert mask.context.shape == (2, 24 - 9) and mask.targets.shape == (2, 5)
    assert (mask.targets[0] < 5).all() and (mask.targets[1] < 9).all()
    assert (mask.context[0] >= 5).all() and (mask.context[1] >= 9).all()


def test_drop_leaves_out_visible_tokens_everywhere_in_time():
    mixture = MaskMixture([Corner(*[6] * 400)], [1], drop=0.5)
    mask = mixture.tokens(mixture.kinds[0], 400, (4, 3, 2), seeded())
    assert mask.context.shape[1] == 9 and mask.targets.shape[1] == 6
    kept = torch.bincount(mask.context.flatten(), minlength=24)[6:] / 400
    assert ((kept - 0.5).abs() < 0.12).all()  # late tokens as often as early ones


@pytest.mark.parametrize("counts, word", [((24, 3), "see"), ((0, 3), "predict")])
def test_a_sample_with_nothing_left_is_refused(counts, word):
    with pytest.raises(ConfigError, match=f"nothing to {word}"):
        MaskMixture([Tubes()], [1]).tokens(Corner(*counts), 2, (2, 3, 4), seeded())


@pytest.mark.parametrize(
    ("kind", "grid", "words"),
    [
        (Tubes(1, 0.95, aspect=(1, 1)), (2, 4, 4), "leaves a sample with nothing to predict"),
        (RandomTokens(0.9), (1, 2, 2), "leaves a sample with nothing to see"),
        # A context of one token, which the block may cover.
        (Blocks(1, context=(0.02, 0.02)), (1, 4, 4), "leaves a sample with nothing to see"),
        (RandomTokens(0.01), (2, 4, 4), "leaves a sample with nothing to predict"),
        (AllButOne(), (1, 4, 4), "hides nothing of a single time step: take longer clips"),
        (Future(2), (2, 4, 4), "leaves nothing to see in 2 time steps: hide fewer steps"),
    ],
)
def test_a_kind_that_is_seldom_drawn_is_refused_before_the_training(kind, grid, words):
    with pytest.raises(ConfigError, match=words):
        MaskMixture([RandomTokens(0.5), kind], [1, 1e-6]).check(grid)
    MaskMixture([RandomTokens(0.5), kind], [1, 0]).check(grid)  # never drawn


@pytest.mark.parametrize("objective", [TimeSteps, MaskedTokens, MaskedPixels])
def test_objectives_check_their_masks_before_anything_is_read(objective):
    masks = MaskMixture([RandomTokens(0.5), Future()], [1, 1e-6])
    settings = {} if objective is MaskedPixels else {"regulariser": NoRegulariser()}
    learner = objective(small(), masks=masks, **settings)
    learner.check(4)
    with pytest.raises(ConfigError, match="Future.steps=1. leaves nothing to see in 1 time steps"):
        learner.check(2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomTokens(1.0), "share, of the tokens that are hidden, must lie between 0"),
        (lambda: RandomTokens(-0.3), "between 0 and 1, got -0.3"),
        (lambda: Tubes(0), "blocks must be at least 1 and scale, .* got 0 and 0.15"),
        (lambda: Tubes(1, 1.0), "a block's share of the frame, lie between 0 and 1, got 1 and 1.0"),
    ],
)
def test_kinds_that_hide_all_or_nothing_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_kinds_are_drawn_by_their_weights():
    kinds = [Tubes(), Future(), AllButOne()]
    mixture = MaskMixture(kinds, [3, 1, 0])
    generator = seeded()
    drawn = [mixture.draw(generator) for _ in range(800)]
    assert drawn.count(kinds[0]) / 800 == pytest.approx(0.75, abs=0.06)
    assert drawn.count(kinds[2]) == 0


@pytest.mark.parametrize(
    "kinds, weights, drop, words",
    [
        ([], [], 0, "one weight for each kind"),
        ([Tubes()], [1, 2], 0, "2 weights for 1 kinds"),
        ([Tubes()], [-1], 0, ">= 0"),
        ([Tubes(), Future()], [0, 0], 0, "not all 0"),
        ([Tubes()], [1], 1.0, r"masks.drop must lie in \[0, 1\)"),
    ],
)
def test_impossible_mixtures_are_refused(kinds, weights, drop, words):
    with pytest.raises(ConfigError, match=words):
        MaskMixture(kinds, weights, drop=drop)


def test_a_mask_moves_whole():
    mask = Mask(torch.tensor([[0]]), torch.tensor([[1]])).to("meta")
    assert mask.context.is_meta and mask.targets.is_meta
