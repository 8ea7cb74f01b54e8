"""Feature values in, probabilities and reasons out.

schema.py    a request of feature values, read fast
problems.py  and slowly, to name what is wrong
scoring.py   POST /predict
shapley.py   Shapley values by sampling
explain.py   POST /explain
"""
