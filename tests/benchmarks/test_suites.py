from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.suite_sheets import FOLDER, SIZE, sheet
from benchmarks.suites import SUITES


@pytest.mark.parametrize("name", SUITES)
def test_the_sheet_in_the_documents_is_what_the_suite_draws(name, tmp_path):
    drawn, kept = (
        np.asarray(Image.open(path).convert("RGB"), np.int64)
        for path in (sheet(name, tmp_path), FOLDER / f"{name}.png")
    )
    # Fonts differ between versions, so only the first clip's images are held, not what is written.
    images = slice(6, 6 + SIZE)
    np.testing.assert_allclose(drawn[images], kept[images], atol=1)
    assert Path(FOLDER / f"{name}.png").stat().st_size < 150_000
