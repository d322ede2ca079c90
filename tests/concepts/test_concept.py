"""Entries of a database file as concepts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.concept import EntryError, concept_of, inside
from tests.places import ROOT


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "image", "images", "info", "attributes", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=6,
    ),
    st.text(),
)
@settings(max_examples=60, deadline=None)
def test_no_entry_of_any_form_does_more_than_be_refused(entry, tag):
    try:
        concept, wrong = concept_of(f"<{tag}>", entry, lambda path: inside(path, ROOT / "docs"))
        assert concept.name == tag and all(isinstance(reason, str) for reason in wrong)
        for image in concept.images:
            assert (ROOT / "docs" / image).is_file() and ".." not in image
    except EntryError:
        pass
