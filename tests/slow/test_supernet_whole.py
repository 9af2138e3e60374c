"What an extracted network computes, over more of them."

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
from salnas.space import SPACES  # noqa: E402
from test_supernet import test_extract_computes_what_the_supernet_computes as extract_computes  # noqa: E402


@pytest.mark.parametrize('space', SPACES)
def test_extract_computes_what_the_supernet_computes(space):
    extract_computes(space, 50)
