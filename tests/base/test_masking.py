"""Nothing secret is shown."""

from __future__ import annotations

import time

import pytest

from ion.base.masking import is_secret, mask_urls, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://me:sesame@host:5672/v", "amqp://me:***@host:5672/v"),
        ("amqp://me:se@sa:me@host", "amqp://me:***@host"),
        ("postgresql+x://:sesame@host", "postgresql+x://:***@host"),
        ("from amqp://a:b@c to redis://d:e@f.", "from amqp://a:***@c to redis://d:***@f."),
        ("amqp://host:5672/v", "amqp://host:5672/v"),
        ("amqp://me@host", "amqp://me@host"),
        ("see https://example.org/a:b@c", "see https://example.org/a:b@c"),
        ("me:sesame@host", "me:sesame@host"),
    ],
)
def test_urls(text: str, shown: str) -> None:
    assert mask_urls(text) == shown


@pytest.mark.parametrize(
    "key",
    ["password", "DB_PASSWORD", "api-key", "token", "client_secret", "agent.key", "apps.x.token"],
)
def test_keys_that_hold_secrets(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize(
    "key", ["url", "passwords_file", "keys", "tokens_per_second", "key", "apps.agent.key", ""]
)
def test_keys_that_do_not(key: str) -> None:
    assert not is_secret(key)


def test_data() -> None:
    data = {"a": ["amqp://x:y@z", 1], "b": {"password": "y", "token": None}, "secret": {"c": "y"}}
    assert masked(data) == {
        "a": ["amqp://x:***@z", 1],
        "b": {"password": "***", "token": None},
        "secret": {"c": "y"},
    }
    assert masked("y", "password") == "***"
    assert masked({"agent": {"key": "y", "key_file": "z"}}) == {
        "agent": {"key": "***", "key_file": "z"}
    }
    assert data["a"][0] == "amqp://x:y@z"


def test_a_long_text_without_blanks_takes_no_time():
    text = "x" * 1_000_000 + " amqp://me:secret@host/ " + "a:b@" * 100_000
    begun = time.process_time()
    assert "secret" not in mask_urls(text)
    assert time.process_time() - begun < 2  # for ever, where each letter may begin a URL
