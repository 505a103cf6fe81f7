"""``util.annotations``: marks change nothing but what they say."""

from __future__ import annotations

import pytest

from miniray.util.annotations import Deprecated, DeveloperAPI, PublicAPI, RayDeprecationWarning


@pytest.mark.parametrize("mark", [PublicAPI, PublicAPI(stability="alpha"), DeveloperAPI, DeveloperAPI(), Deprecated])
def test_mark_leaves_the_function_as_it_is(mark):
    def function(value):
        return value + 1

    assert mark(function) is function
    assert function(1) == 2


def test_deprecated_function_warns_when_told_to():
    @Deprecated(message="Use another.", warning=True)
    def function(value):
        return value + 1

    with pytest.warns(RayDeprecationWarning, match="Use another"):
        assert function(1) == 2


def test_deprecated_class_warns_when_made():
    @Deprecated(warning=True)
    class Old:
        pass

    with pytest.warns(RayDeprecationWarning):
        Old()


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="stability"):
        PublicAPI(stability="eternal")
    with pytest.raises(ValueError, match="Unknown"):
        Deprecated(reason="none")
