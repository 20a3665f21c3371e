"""``codec_up = "auto"``: what a job's settings become once its model, its fleet and its link are known."""

from __future__ import annotations

from dataclasses import replace

from gossamer.aggregator.jobs import AUTO, JobSettings
from gossamer.compression.auto import Choice, JobFacts, LinkFacts, choose
from gossamer.compression.layout import Layout


def facts_of(layout: Layout, devices: int, cohorts: int) -> JobFacts:
    """What `gossamer.compression.auto` wants to know of a model and its fleet."""
    positions = {name: i for i, (name, _) in enumerate(layout.entries)}
    smooth = frozenset(positions[name] for name, sides in layout.axes if any(side > 1 for side in sides))
    shapes = tuple(shape for _, shape in layout.entries)
    return JobFacts(shapes, smooth, max(devices, cohorts, 1), cohorts)


def decided(settings: JobSettings, layout: Layout, devices: int) -> tuple[JobSettings, Choice | None]:
    """Settings with codecs, server step, local epochs and batch in the place of "auto", and why; or as they are."""
    if settings.codec_up != AUTO or layout.size == 0:
        return settings, None
    link = LinkFacts(
        settings.link.envelope_bytes, settings.link.per_byte_micro / 1e6, settings.link.bytes_per_second,
        settings.link.metered,
    )  # fmt: skip
    choice = choose(facts_of(layout, devices, settings.cohorts), link)
    fit = replace(settings.fit, local_epochs=choice.local_epochs, batch_size=choice.batch_size)
    chosen = replace(
        settings, codec_up=choice.codec_up, codec_down=choice.codec_down, server_step=choice.server_step, fit=fit,
        device_choice=True,
    )  # fmt: skip
    return chosen, choice
