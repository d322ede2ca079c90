"""Every metric gives a share, whatever a policy wrote."""

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.attributes import attribute_metrics
from benchmarks.metrics.intervals import value
from benchmarks.metrics.localization import localization_metrics
from benchmarks.metrics.naming import count_names, naming_metrics
from benchmarks.metrics.recognition import recognition_metrics
from data_gen.toybox.language import read_caption


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters() | st.sampled_from("<>/[],. yesno0123bearred"), max_size=80))
def test_any_text_gives_shares(text):
    toys = [[{"kind": "bear", "colour": "red"}]]
    found = {
        **recognition_metrics([text], ["yes"], [False]),
        **localization_metrics([text], [(0, 0, 1, 1)], [[8, 8]]),
        **naming_metrics([count_names(text, ["bo"], ["no"])]),
        **attribute_metrics([read_caption(text)], toys),
    }
    for key, metric in found.items():
        number = value(metric)
        assert number != number or 0 <= number <= 1, key
