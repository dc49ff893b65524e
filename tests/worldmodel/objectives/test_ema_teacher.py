import pytest
import torch
from torch import nn

from tests.worldmodel.toys import noise, small, stirred
from worldmodel.nn.heads import time_step_latents
from worldmodel.objectives.ema_teacher import EMATeacher

FRAMES = noise(4, 4, 3, 16, 16)


@pytest.fixture
def students():
    sizes = small()
    return stirred(sizes.encoder), stirred(sizes.head())


def test_it_starts_as_its_students_and_shares_nothing_with_them(students):
    teacher = EMATeacher(*students, momentum=0.9).eval()
    expected = time_step_latents(*(part.eval() for part in students), FRAMES).detach()
    assert torch.equal(teacher(FRAMES), expected) and not teacher(FRAMES).requires_grad
    stirred(students[0])
    assert torch.equal(teacher(FRAMES), expected)


def test_it_follows_by_its_momentum_and_copies_counts(students):
    encoder, head = students
    teacher = EMATeacher(encoder, head, momentum=0.75)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    stirred(nn.ModuleList([encoder, head]))
    time_step_latents(encoder, head.train(), FRAMES)
    teacher.follow(encoder, head)
    now = {"encoder": encoder.state_dict(), "head": head.state_dict()}
    for name, slow in teacher.state_dict().items():
        part, _, rest = name.partition(".")
        student = now[part][rest]
        if slow.is_floating_point():
            assert torch.allclose(slow, 0.75 * before[name] + 0.25 * student, atol=1e-6), name
        else:
            assert slow == student == 1, name
