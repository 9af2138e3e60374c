"The conformance suite of strategies over more objectives, cuts and constraints."

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
from test_search import RANKED, TWO, every_strategy  # noqa: E402
from test_search import test_constraint as constraint_holds  # noqa: E402
from test_search import test_new_trials_the_same_for_the_same_seed as new_trials  # noqa: E402
from test_search import test_resumed_it_goes_on_as_if_uninterrupted as resumed_it_goes_on  # noqa: E402


@every_strategy
def test_new_trials_the_same_for_the_same_seed(make):
    new_trials(make, TWO)


@every_strategy
@pytest.mark.parametrize('factor', [1.03, 1.5])
def test_constraint(make, factor):
    constraint_holds(make, factor)


@every_strategy
@pytest.mark.parametrize('objectives', ['CC', TWO, RANKED], ids=['one', 'two', 'ranks'])
@pytest.mark.parametrize('cut', [1, 9, 17, 30])
def test_resumed_it_goes_on_as_if_uninterrupted(make, objectives, cut):
    resumed_it_goes_on(make, objectives, cut)
