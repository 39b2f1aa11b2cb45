"""Models of the objective over the search space, and the functional ANOVA of each."""
