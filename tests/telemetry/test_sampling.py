"""Which traces are recorded, held against the OpenTelemetry SDK's own samplers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import sampling as theirs
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from pointsman.domain.errors import PointsmanError
from pointsman.telemetry import sampling
from pointsman.telemetry.context import Context

THEIRS = {
    "always_on": lambda _: theirs.ALWAYS_ON,
    "always_off": lambda _: theirs.ALWAYS_OFF,
    "traceidratio": theirs.TraceIdRatioBased,
    "parentbased_always_on": lambda _: theirs.DEFAULT_ON,
    "parentbased_always_off": lambda _: theirs.DEFAULT_OFF,
    "parentbased_traceidratio": theirs.ParentBasedTraceIdRatio,
}


def ours(name, rate):
    return sampling.from_environment({sampling.SAMPLER: name, sampling.ARGUMENT: repr(rate)})


@given(
    st.sampled_from(sorted(THEIRS)),
    st.floats(0, 1),
    st.integers(1, 2**128 - 1),
    st.sampled_from([None, 0, 1]),
)
def test_the_same_traces_are_kept_as_by_the_sdk(name, rate, trace, parent):
    """For every standard sampler, rate and trace, with and without a caller."""
    sampler, text = ours(name, rate), f"{trace:032x}"
    around = None
    if parent is not None:
        remote = SpanContext(trace, 7, is_remote=True, trace_flags=TraceFlags(parent))
        around = set_span_in_context(NonRecordingSpan(remote))
    said = THEIRS[name](rate).should_sample(around, trace, "span").decision.is_sampled()

    if parent is None:
        assert sampler.takes(sampling.low_bits(text)) == said
    else:
        assert sampler.follows(Context(text, "7".rjust(16, "0"), parent)) == said


def test_everything_is_kept_unless_said_otherwise():
    """As the specification's default: what callers do not sample is not sampled here."""
    sampler = sampling.from_environment({})

    assert sampler == ours("parentbased_always_on", 0.0)


@pytest.mark.parametrize(
    ("name", "rate"), [("sometimes", "1"), ("traceidratio", "2"), ("traceidratio", "nan")]
)
def test_what_cannot_be_understood_is_refused_with_what_can(name, rate):
    """At the start, not at the first request."""
    with pytest.raises(PointsmanError) as refused:
        sampling.from_environment({sampling.SAMPLER: name, sampling.ARGUMENT: rate})

    assert refused.value.hint
