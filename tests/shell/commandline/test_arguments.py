"""Arguments for apps, as given with -a."""

from __future__ import annotations

import pytest

from ion.shell.commandline.arguments import AppArguments
from ion.shell.commandline.content import ContentError


def test_arguments_for_all_and_for_one_app():
    arguments = AppArguments(["n=3", "who=you", "apparg_hello.who=me", "apparg_hello.on=true"])
    assert arguments.of("hello") == {"n": 3, "who": "me", "on": True}
    assert arguments.of("other") == {"n": 3, "who": "you"}
    assert arguments.by_app == {"hello": {"who": "me", "on": True}}


@pytest.mark.parametrize("word", ["bare", "=x", "apparg_hello=x", "apparg_hello.=x"])
def test_words_of_another_form_are_refused(word):
    with pytest.raises(ContentError, match="key=value"):
        AppArguments([word])
