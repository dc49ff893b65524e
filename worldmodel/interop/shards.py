"""Weights that lie in several safetensors files, as transformers writes them when they are large.

`model.safetensors.index.json` says in which file each key is. Knows nothing of what keys mean.
"""

import json
from pathlib import Path

from torch import Tensor

from worldmodel.errors import CheckpointError
from worldmodel.storage.tensors import read_tensors

INDEX = "model.safetensors.index.json"
_REMEDY = "fetch the folder again, all of its files"


def read_shards(folder: Path) -> dict[str, Tensor]:
    """The tensors of all the files that the folder's index names, each key where it says.

    Raises:
        CheckpointError: it is no index, names files elsewhere, or the files hold other keys.
    """
    path = folder / INDEX
    try:
        places = json.loads(path.read_text(encoding="utf-8-sig"))["weight_map"]
        names = sorted(set(places.values()))
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise CheckpointError(
                    f"{path}: names {str(name)[:60]!r}; only .safetensors files of its own folder "
                    f"are read; {_REMEDY}"
                )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
        raise CheckpointError(
            f"{path}: is not an index of weights ({type(cause).__name__}); {_REMEDY}"
        ) from cause
    tensors: dict[str, Tensor] = {}
    for name in names:
        found = read_tensors(folder / name, remedy=_REMEDY)
        promised = {key for key, place in places.items() if place == name}
        if found.keys() != promised:
            other = sorted(found.keys() ^ promised)
            raise CheckpointError(
                f"{folder / name}: {len(other)} keys are not as {INDEX} says ({other[0]}); "
                f"{_REMEDY}"
            )
        tensors |= found
    return tensors
