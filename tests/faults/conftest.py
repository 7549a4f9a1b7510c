import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def place():
    """A folder like ``tmp_path`` that everybody may enter and write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder).resolve()
