"""Topics from templates, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import ConfigError
from gossamer.wire.topics import DEVICE_KINDS, SHARED_KINDS, TopicParts, Topics, bucket_of

TEMPLATES = {
    "default": Topics("farm1"),
    "things": Topics("farm1", "fl/{kind}", "things/{device}/fl/{kind}"),
    "aws": Topics("f", "dt/x/{fleet}-{kind}", "dt/x/y/{bucket}/{device}/z/{kind}"),
}
devices = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", fullmatch=True)


def test_default_topics():
    topics = Topics("farm1")
    assert topics.shared_topic("m") == "g1/farm1/m"
    assert topics.device_topic("u", "pump-7") == f"g1/farm1/u/{bucket_of('pump-7')}/pump-7" == "g1/farm1/u/9a/pump-7"
    assert topics.subscription("m") == "g1/farm1/m"
    assert topics.subscription("u") == "g1/farm1/u/+/+"
    assert topics.subscription("u", "9a") == "g1/farm1/u/9a/+"


@pytest.mark.parametrize("topics", TEMPLATES.values(), ids=TEMPLATES)
@given(device=devices)
def test_there_and_back(topics, device):
    for kind in DEVICE_KINDS:
        parts = topics.parse(topics.device_topic(kind, device))
        assert parts == TopicParts(kind, device)
        assert parts.bucket == bucket_of(device)
    for kind in SHARED_KINDS:
        assert topics.parse(topics.shared_topic(kind)) == TopicParts(kind)
        assert TopicParts(kind).bucket is None


@given(st.text(max_size=300))
def test_any_topic_parses_to_something_or_none(topic):
    parts = Topics("farm1").parse(topic)
    if parts is not None and parts.device is not None:
        assert Topics("farm1").device_topic(parts.kind, parts.device) == topic


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "g1/farm1",
        "g1/farm2/m",
        "g1/farm1/u",
        "g1/farm1/m/9a/pump-7",
        "g1/farm1/u/42/pump-7",  # the wrong bucket: two bridges would both think it theirs
        "g1/farm1/u/9a/pump-7/x",
        "g1/farm1/u/9a/+",
        "g1/farm1/x/9a/pump-7",
        "g1/farm1/u/9a/pump-7\n",
        "g1/farm1/u/9a/" + "a" * 400,
    ],
)
def test_foreign_topics(topic):
    assert Topics("farm1").parse(topic) is None


@pytest.mark.parametrize("fleet", ["", "ninechars", "a/b", "a+", "ä"])
def test_impossible_fleets(fleet):
    with pytest.raises(ConfigError):
        Topics(fleet)


@pytest.mark.parametrize("device", ["", "a/b", "#", "+", "-x", "a b", "a" * 65, "é", "a\0"])
def test_impossible_devices(device):
    with pytest.raises(ConfigError):
        Topics("farm1").device_topic("u", device)


@pytest.mark.parametrize(
    ("shared", "device"),
    [
        ("u/{kind}", "{kind}/{device}"),  # device "m" would speak on the manifest's topic
        ("g1/{fleet}", "{kind}/{device}"),
        ("g1/{kind}/{device}", "{kind}/{device}"),
        ("g1/{kind}", "{kind}"),
        ("g1/{kind}", "{device}"),
        ("g1/{kind}", "x-{device}/{kind}"),
        ("g1/{kind}", "{bucket}{device}/{kind}"),
        ("g1/{kind}", "{device}/{device}/{kind}"),
        ("g1/{kind}", "{device}/{kind}/{what}"),
        ("g1/{kind}/#", "{device}/{kind}"),
        ("$SYS/{kind}", "{device}/{kind}"),
        ("/{kind}", "{device}/{kind}"),
        ("a b/{kind}", "{device}/{kind}"),
        ("{kind!r}", "{device}/{kind}"),
    ],
)
def test_impossible_templates(shared, device):
    with pytest.raises(ConfigError):
        Topics("farm1", shared, device)


def test_kinds_and_buckets_that_do_not_fit():
    topics = Topics("farm1")
    plain = TEMPLATES["things"]
    for call in (
        lambda: topics.shared_topic("u"),
        lambda: topics.device_topic("m", "pump-7"),
        lambda: topics.subscription("x"),
        lambda: topics.subscription("ua"),
        lambda: topics.subscription("m", "9a"),
        lambda: topics.subscription("u", "+"),
        lambda: plain.subscription("u", "9a"),
    ):
        with pytest.raises(ConfigError):
            call()
    assert plain.subscription("u") == "things/+/fl/u"
