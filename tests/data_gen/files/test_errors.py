"""Errors that users can fix have one base class."""

import pytest

from data_gen.files.chat import ChatError
from data_gen.files.errors import ImageError, InputError, SourceError
from data_gen.images.encoders import EncoderError
from data_gen.images.photos import PhotoError
from data_gen.rows import RowError
from data_gen.rows.build_plan import PlanError
from data_gen.rows.disk_space import NoRoomError
from data_gen.sources.released import Defect


@pytest.mark.parametrize(
    "error",
    [
        ChatError,
        Defect,
        EncoderError,
        ImageError,
        NoRoomError,
        PhotoError,
        PlanError,
        RowError,
        SourceError,
    ],
)
def test_errors_of_the_data_rooms_are_input_errors(error):
    assert issubclass(error, InputError) and issubclass(error, ValueError)


def test_an_image_error_keeps_place_and_reason():
    error = ImageError("cat/1.jpg", "truncated")
    assert str(error) == "cat/1.jpg: truncated"
    assert (error.where, error.reason) == ("cat/1.jpg", "truncated")
