"""Invoice lines in, feature values of those that count out, which are then scored.

schema.py        a request of invoice lines, read fast
problems.py      and slowly, to name what is wrong
handover.py      and handed to DuckDB
judged.py        the one SQL statement: which lines count, features
pool.py          connections that each hold that statement
transactions.py  POST /predict_transactions
unanswered.py    the lines and customers without an answer, and why
"""
