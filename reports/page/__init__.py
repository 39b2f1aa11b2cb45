"""The page: its data model, its figures and tables, and the template that renders it."""
