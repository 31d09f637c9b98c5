"""Ids in series are ids, and never the same twice."""

from concurrent.futures import ThreadPoolExecutor

from keystead.core.ids import IdSeries, parse_id


def test_they_are_ids_of_their_kind() -> None:
    series = IdSeries("entry", "home")
    for _ in range(100):
        assert parse_id(series.next(), "entry").region == "home"


def test_they_differ_within_and_between_series_and_threads() -> None:
    series = [IdSeries("entry", "home") for _ in range(20)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda one: [one.next() for _ in range(500)], series * 4))
    flat = [one for some in made for one in some]
    assert len(set(flat)) == len(flat) == 20 * 4 * 500
