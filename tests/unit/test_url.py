"""Broker URLs: what is read from one, and that none is printed with its secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.broker.url import BrokerUrl, masked, parse, with_namespace
from treadle.errors import ConfigurationError


def test_every_part_of_a_url_is_read() -> None:
    url = parse("rediss://user:p%40ss@cache.example:6380/3?namespace=shop&ssl_ca=%2Fca.pem")

    assert (url.scheme, url.host, url.port) == ("rediss", "cache.example", 6380)
    assert (url.username, url.password) == ("user", "p@ss")
    assert (url.path, url.namespace, url.options) == ("3", "shop", {"ssl_ca": "/ca.pem"})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///jobs.db", "jobs.db"),
        ("sqlite:////var/lib/jobs.db", "/var/lib/jobs.db"),
        ("sqlite:///a%20b.db", "a b.db"),
        ("memory://", ""),
    ],
)
def test_the_path_is_what_stands_behind_the_host(text: str, path: str) -> None:
    assert parse(text).path == path


def test_the_namespace_has_a_default() -> None:
    assert parse("memory://").namespace == "treadle"


@pytest.mark.parametrize("namespace", ["", "a b", "a.b", "a/b", "a*", "x" * 65])
def test_a_namespace_is_a_plain_word(namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        parse(f"memory://?namespace={namespace}")


@pytest.mark.parametrize(
    "text", ["jobs.db", "", "redis:host", "://host", "redis://host:port", "redis://[::1"]
)
def test_what_is_no_broker_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="broker URL"):
        parse(text)


def test_schemes_are_read_in_any_case() -> None:
    assert parse("SQLITE:///jobs.db").scheme == "sqlite"


@pytest.mark.security(16)
def test_printing_a_url_masks_user_and_password() -> None:
    url = parse("redis://user:hunter2@host:6379/0")

    assert str(url) == "redis://***@host:6379/0"


@pytest.mark.security(16)
@pytest.mark.parametrize(
    "text",
    [
        "redis://user:hunter2@host",
        "redis://:hunter2@host",
        "cannot reach redis://user:hunter2@host: refused",
        "first redis://a:hunter2@one, then nats://b:hunter2@two",
        "redis://:a/hunter2@host:6379/0",
        "redis://user:a@b/hunter2@host",
        "redis://user:1/hunter2@host",
        "redis://user:a/b:hunter2?c#d@host",
    ],
)
def test_urls_are_masked_inside_other_text(text: str) -> None:
    assert "hunter2" not in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://host:6379/0,memory://",
        "sqlite:////home/ada@work/jobs.db",
        "'redis://host:6379/0' of ada@example.com",
        '{"url":"redis://host:6379/0","to":"ada@example.com"}',
    ],
)
def test_what_is_no_login_is_not_masked(text: str) -> None:
    assert masked(text) == text


@pytest.mark.security(16)
@pytest.mark.parametrize(
    "text",
    [
        "redis://:hunter2#more@host:6379",
        "redis://:hunter2/more@host:6379",
        "redis://:12/hunter2@host:6379",
        "redis://:12#hunter2@host:6379",
        "redis://ada:hunter2\u2100@host",
    ],
)
def test_a_url_that_cannot_be_read_is_not_printed_with_its_password(text: str) -> None:
    try:
        shown = str(parse(text))
    except ConfigurationError as error:
        shown = f"{error} {error.__cause__} {error.__context__ if not error.__suppress_context__ else None}"

    assert "hunter2" not in shown


def test_what_stands_behind_a_hash_is_not_lost_in_silence() -> None:
    with pytest.raises(ConfigurationError, match="%23"):
        parse("sqlite:///jobs#1.db")


@pytest.mark.parametrize("name", ["password", "sslpassword", "PASSWD", "auth_token", "apikey"])
def test_options_that_hold_secrets_are_masked(name: str) -> None:
    shown = masked(f"cannot reach 'nats://host/0?user=ada&{name}=hunter2&namespace=shop'")

    assert "hunter2" not in shown
    assert "namespace=shop'" in shown


@given(st.text("abc:/?#[]!$&'()*+,;=%", min_size=1), st.sampled_from(["redis", "nats", "postgres"]))
def test_no_quoted_password_is_ever_printed(password: str, scheme: str) -> None:
    from urllib.parse import quote

    quoted = quote(password, safe="")

    assert quoted not in str(parse(f"{scheme}://Q:{quoted}Q@host/0")).removeprefix(scheme)


def test_unknown_options_are_refused_with_the_known_ones() -> None:
    url = parse("sqlite:///jobs.db?durabilty=process")

    with pytest.raises(
        ConfigurationError, match=r"unknown option 'durabilty'\. Known: durability, namespace"
    ):
        url.refuse_unknown(("durability",))


def test_an_option_must_be_one_of_its_values() -> None:
    url = parse("sqlite:///jobs.db?durability=some")

    with pytest.raises(ConfigurationError, match="is not one of process, power-loss"):
        url.option("durability", "power-loss", ("process", "power-loss"))


@pytest.mark.parametrize("text", ["memory://", "sqlite:///jobs.db?durability=process&namespace=a"])
def test_the_namespace_of_a_url_can_be_replaced(text: str) -> None:
    changed: BrokerUrl = parse(with_namespace(text, "fresh"))

    assert changed.namespace == "fresh"
    assert changed.options == parse(text).options
