"""Lists of layers as text."""

import pytest

from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers, parse_by_layer, parse_layers, pick_layers, show_layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("all", (0, 1, 2, 3)),
        ("0-3", (0, 1, 2, 3)),
        ("2", (2,)),
        ("3,0,1-2,1", (0, 1, 2, 3)),
        (" 1 - 2 , 3", (1, 2, 3)),
    ],
)
def test_a_list_of_layers_is_read_ascending_and_each_once(
    text: str, layers: tuple[int, ...]
) -> None:
    assert parse_layers(text, 4) == layers


def test_a_layer_out_of_range_names_the_range() -> None:
    with pytest.raises(
        ConfigError, match=r"--layers 0-27: layer 27 is out of range; the model has layers 0-3"
    ):
        parse_layers("0-27", 4)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1-", "-1", "1-2-3", "1,,2", "1.5", "3-1", "0-99999999999", "10000", "9" * 5000],
)
def test_a_malformed_list_is_refused_before_a_model_is_known(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--layers"):
        check_layers(text)


def test_a_number_for_each_layer_is_bounded() -> None:
    assert parse_by_layer("--k", "64,32", [0, 1]) == {0: 64, 1: 32}
    for text in ("0", "-1", "99999999999999999999", "9" * 5000, "1e3"):
        with pytest.raises(ConfigError, match=r"^--k .* is no number from 1 to 67108864"):
            parse_by_layer("--k", text, [0])


def test_all_means_the_captured_layers_where_only_some_were_captured() -> None:
    assert pick_layers("all", [0, 3, 5]) == (0, 3, 5)
    assert pick_layers("3-3,0", [0, 3, 5]) == (0, 3)


def test_a_layer_that_was_not_captured_names_the_captured_ones() -> None:
    with pytest.raises(ConfigError, match=r"layer 4 was not captured; captured are 0,2-3,7"):
        pick_layers("4", [0, 2, 3, 7])


@pytest.mark.parametrize("layers", [(0,), (0, 1, 2), (0, 3, 5, 6, 7), (2, 3, 9)])
def test_the_short_form_reads_back_as_the_same_layers(layers: tuple[int, ...]) -> None:
    assert parse_layers(show_layers(layers), 10) == layers
