"""A user's module with a mistake in it."""

nonsense  # noqa: B018, F821
