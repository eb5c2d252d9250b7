"""How many examples a property is tried on, where it is not the number of the profile."""

from hypothesis import settings


def examples(count: int) -> settings:
    """`count` in the quick profile, and in another as many times more as its own number is."""
    return settings(max_examples=count * settings().max_examples // 25)
