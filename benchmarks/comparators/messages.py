"""Words and arrays between two processes of two Pythons; nothing that is read could run code.

Needs NumPy alone: the environment of a learner of others has none of our packages.
"""

import io
import json
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np


def send(connection: Connection, words: Mapping[str, Any], **arrays: np.ndarray) -> None:
    """Send a message.

    Args:
        connection: To the other process.
        words: What JSON can say.
        arrays: Numbers of any shape and type, but for objects; none is called `words`.
    """
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, words=np.array(json.dumps(words)), **arrays)
    connection.send_bytes(packed.getvalue())


def receive(connection: Connection) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The next message: its words and its arrays.

    Raises:
        EOFError: the other process has ended.
    """
    with np.load(io.BytesIO(connection.recv_bytes()), allow_pickle=False) as packed:
        arrays = {name: packed[name] for name in packed.files if name != "words"}
        words: dict[str, Any] = json.loads(str(packed["words"]))
    return words, arrays
