"""Four hundred files of extracted archives with changed bits; a dozen or two of them are among the quick tests."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
import fake_archives as fake  # noqa: E402
from test_sources import test_damage_anywhere_is_one_sentence as damage  # noqa: E402


@pytest.mark.parametrize('name', fake.ALL)
def test_damage_anywhere_forty_times(tmp_path, name):
    damage(tmp_path, name, changes=40)
