"""Serve the champion: a model bundle in, answers over HTTP out. docs/serving.md says how to use it.

    python -m serving            the champion at http://127.0.0.1:3000    (make serve)
    python -m serving.predict    query it with the last run's example     (make predict)

a request, in its order
    app.py               the ASGI application: reads the request, sends the answer
    access.py            who may ask: host, origin, token
    limits.py            the size and time of a request, and how many at once
    endpoints.py         the paths, and the function that answers each
    requests.py          the types of the requests; bytes → customers to score
    line_requests.py     the same for invoice lines
    problems.py          what is wrong with a request, value by value
    transactions.py      invoice lines → feature values of their customers
    transactions_sql.py  the SQL statement that judges the lines and makes the features
    champion.py          the champion, the request that it answers, and scoring
    explain.py           Shapley values by sampling
    responses.py         the types of the answers
    errors.py            the one shape of a refusal
    openapi.py           GET /docs.json, and /schema.json for BentoML's client
    page/                the page for people, and Swagger UI's

a new champion
    swap.py              is looked up, and takes the place of the old one
    trial.py             a bundle is tried in a process of its own, within bounds
    opening.py           a bundle is verified, opened and warmed up

the processes
    __main__.py          the launcher: settings, champion, port
    launcher.py          BentoML's process: address, start, end
    served.py            the file of settings that the processes start with
    service.py           the service that BentoML runs in each worker

what is kept
    metrics.py           GET /metrics
    request_log.py       requests and their answers, in Parquet
    shadow.py            the challenger that scores the same rows, unseen
    shadow_process.py    its process, seen from the worker
    shadow_scorer.py     its process, from inside

elsewhere
    client.py            a client in Python
    predict.py           the same at the command line
    batch.py             the score of every customer, without the service
    pyfunc.py            the bundle as MLflow loads it (mlflow.pyfunc)
    package.py           the Bento: code, bundle and what to install    (make bento)
    image.py             a container image of it                        (make image)
    shipped.py           what a Bento starts

Imports go down each list and never in a circle (import-linter). Nothing here imports `training`,
and a running service imports no training library.
"""

import sys

if sys.argv[0] == "-m":  # as it is while Python looks for the module of `python -m serving.predict`
    from common.interrupt import exit_on_ctrl_c

    exit_on_ctrl_c()
