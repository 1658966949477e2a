"""The page that shows a published revision."""
