"""Measurements of the operator, printed with the machine they were made on and as ratios against a floor."""
