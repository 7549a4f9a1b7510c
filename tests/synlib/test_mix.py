"""Composition of training sets: exact numbers, seeds, nestedness."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synlib.curation.mix import choose, composition_for_budget, composition_for_ratio

IDS = [f"ulm_{i:06d}_000019" for i in range(60)]


def chosen(number, pool=IDS, seed=0, domain="real"):
    return choose(pool, number, seed=seed, domain=domain)


@given(st.integers(0, 60), st.integers(0, 5), st.randoms(use_true_random=False))
def test_exact_numbers_without_replacement_whatever_the_order(number, seed, random):
    some = chosen(number, seed=seed)
    assert len(set(some)) == number and set(some) <= set(IDS)
    assert chosen(number, random.sample(IDS, len(IDS)), seed) == some


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_nested(a, b, seed):
    assert set(chosen(min(a, b), seed=seed)) <= set(chosen(max(a, b), seed=seed))


def test_seeds_and_domains_choose_independently():
    sets = [set(chosen(30)), set(chosen(30, seed=1)), set(chosen(30, domain="synthetic"))]
    assert sets[0] not in sets[1:]


def test_every_image_is_chosen_about_equally_often():
    times = Counter(image for seed in range(400) for image in chosen(15, seed=seed))
    assert min(times[image] for image in IDS) > 60
    assert max(times.values()) < 145  # 100 expected, standard deviation 8.7


@pytest.mark.parametrize(
    ("number", "pool", "message"),
    [
        (61, IDS, "61 real images wanted, but there are 60"),
        (-1, IDS, "-1 real"),
        (1, [*IDS, IDS[3]], "1 real images are listed twice"),
    ],
)
def test_pools_that_do_not_do(number, pool, message):
    with pytest.raises(ValueError, match=message):
        chosen(number, pool)


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(80_000, 9825), (20_000, 225), (18_594, 0), (1_000, 0), (143_594, 20_000), (150_000, 20_000)],
)
def test_budget_rule(iterations, expected):
    assert composition_for_budget(iterations, 8, 50, 2975, 20_000) == (2975, expected)


@given(st.integers(0, 3000), st.integers(0, 100))
def test_ratio_keeps_the_total(total, percent):
    real, synthetic = composition_for_ratio(total, percent / 100)
    assert real + synthetic == total and real == (2 * total * percent + 100) // 200


@pytest.mark.parametrize(
    "call",
    [
        lambda: composition_for_ratio(10, 1.5),
        lambda: composition_for_ratio(10, float("nan")),
        lambda: composition_for_budget(0, 8, 50, 30, 30),
        lambda: composition_for_budget(10, 0, 50, 30, 30),
        lambda: composition_for_budget(10, 8, -1, 30, 30),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError, match="expected a number"):
        call()
