"""A study's database, journal or CSV as one frozen object."""
