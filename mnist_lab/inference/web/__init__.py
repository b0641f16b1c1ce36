"""The page on which to draw digits."""
