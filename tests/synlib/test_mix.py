"""Composition of training sets: exact numbers, seeds, nestedness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synlib.curation.mix import composition_for_budget, composition_for_ratio, mix

REAL = [f"ulm_{i:06d}_000019" for i in range(60)]
SYNTHETIC = [f"synscapes_{i:06d}_000000" for i in range(1, 81)]


@given(st.integers(0, 60), st.integers(0, 80), st.integers(0, 5), st.randoms(use_true_random=False))
def test_exact_numbers_without_replacement_whatever_the_order(real, synthetic, seed, random):
    chosen = mix(REAL, SYNTHETIC, real=real, synthetic=synthetic, seed=seed)
    assert [len(set(ids)) for ids in chosen] == [real, synthetic]
    assert set(chosen[0]) <= set(REAL) and set(chosen[1]) <= set(SYNTHETIC)
    shuffled = [random.sample(ids, len(ids)) for ids in (REAL, SYNTHETIC)]
    assert mix(*shuffled, real=real, synthetic=synthetic, seed=seed) == chosen


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_nested(a, b, seed):
    sets = [mix(REAL, SYNTHETIC, real=n, synthetic=60 - n, seed=seed) for n in (min(a, b), max(a, b))]
    assert set(sets[0][0]) <= set(sets[1][0]) and set(sets[1][1]) <= set(sets[0][1])


def test_seeds_and_domains_choose_independently():
    first, other = (mix(REAL, REAL, real=30, synthetic=30, seed=seed) for seed in (0, 1))
    assert set(first[0]) != set(other[0]) and set(first[0]) != set(first[1])


def test_every_image_is_chosen_about_equally_often():
    times = dict.fromkeys(REAL, 0)
    for seed in range(400):
        for image in mix(REAL, [], real=15, synthetic=0, seed=seed)[0]:
            times[image] += 1
    assert min(times.values()) > 60 and max(times.values()) < 145  # 100 expected, standard deviation 8.7


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [(61, 0, "61 real images wanted, but there are 60"), (0, 81, "81 synthetic"), (-1, 0, "-1 real")],
)
def test_pools_too_small(real, synthetic, message):
    with pytest.raises(ValueError, match=message):
        mix(REAL, SYNTHETIC, real=real, synthetic=synthetic, seed=0)


def test_repeated_images_are_refused():
    with pytest.raises(ValueError, match="1 real images are listed twice"):
        mix([*REAL, REAL[3]], SYNTHETIC, real=1, synthetic=0, seed=0)


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(80_000, (2975, 9825)), (20_000, (2975, 225)), (18_594, (2975, 0)), (1_000, (2975, 0)), (143_594, (2975, 20_000))],
)
def test_budget_rule(iterations, expected):
    assert composition_for_budget(iterations) == expected


def test_budget_is_limited_by_the_pool():
    assert composition_for_budget(150_000, synthetic=20_000) == (2975, 20_000)
    assert composition_for_budget(100, batch_size=4, epochs=10, real=30) == (30, 10)


@given(st.integers(0, 3000), st.integers(0, 100))
def test_ratio_keeps_the_total(total, percent):
    real, synthetic = composition_for_ratio(total, percent / 100)
    assert real + synthetic == total and real == (2 * total * percent + 100) // 200


@pytest.mark.parametrize(
    "call",
    [
        lambda: composition_for_ratio(10, 1.5),
        lambda: composition_for_ratio(10, float("nan")),
        lambda: composition_for_budget(0),
        lambda: composition_for_budget(10, batch_size=0),
        lambda: composition_for_budget(10, epochs=-1),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError, match="expected a number"):
        call()
