"""Bundle → answers: the service. docs/serving.md tells how it is used.

    python -m serving            the champion at http://127.0.0.1:3000    (make serve)
    python -m serving.predict    ask it about the last run's example      (make predict)

start       __main__.py      the launcher: settings, champion, port; starts the service and ends it
            address.py       where it listens
            served.py        what the launcher hands over to the service
            service.py       the service that BentoML runs, in each worker
            arbiter.py       BentoML's process that looks after the workers, closed to others
a request   protocol.py      HTTP, with bounds on what stays open
            front.py         the application before BentoML's: bytes in, bytes out
            routes.py        which paths there are
            access.py        who may ask: host, origin, token
            work.py          how much at once, and for how long
            asked.py         what an endpoint is handed
            refusal.py       the one shape of no
            messages.py      the shapes of yes
values      schema.py        feature values, read fast
            problems.py      and slowly, to name what is wrong
            scoring.py       POST /predict
lines       lines.py         invoice lines, read
            line_problems.py and slowly, to name what is wrong
            pool.py          connections that each hold the statement below
            handover.py      and handed to DuckDB
            judged.py        the one SQL statement: which lines count, features
            transactions.py  POST /predict_transactions
            unanswered.py    the customers without an answer, and why
why         shapley.py       Shapley values by sampling
            explain.py       POST /explain
who         champions.py     the champion: looked up, verified, swapped
            about.py         GET /model
            openapi.py       GET /docs.json
            page/            the page, and Swagger UI's
kept        metrics.py       what is counted
            request_log.py   what was asked and answered
clients     client.py        in Python, with client_errors.py and retry.py
            predict.py       at the command line
elsewhere   shipping/        the Bento and the image

Nothing here imports `training`, and a running service imports no training library.
"""
