"""Bundle → answers: the service. docs/serving.md tells how it is used.

    python -m serving            the champion at http://127.0.0.1:3000    (make serve)
    python -m serving.predict    ask it about the last run's example      (make predict)

start      __main__.py     the launcher: settings, champion, port
           address.py      where it listens
           process.py      BentoML's process: started, waited for, ended
           quiet.py        with which variables
           served.py       what the launcher hands over to the service
           arbiter.py      BentoML's process that looks after the workers, closed to others
           service.py      the service that BentoML runs, in each worker
who        champions.py    the champion: looked up, swapped
           trial.py        a bundle tried in a process of its own, within bounds
           opening.py      and a bundle made into one: verified, open, warm
           about.py        GET /model
           openapi.py      GET /docs.json
a request  asked.py        what an endpoint is handed
           stop.py         how its answering is ended
           reading.py      what the slow readers share
           messages.py     the shapes of yes
           refusal.py      the one shape of no
kept       metrics.py      what is counted
           request_log.py  what was asked and answered
           monitored.py    what monitoring has found, on /metrics
in batch   batch.py        everybody's score
a client   predict.py      at the command line

rooms      web/            HTTP, and the page for people
           values/         feature values: /predict, /explain
           lines/          invoice lines: /predict_transactions
           shadow/         the challenger that scores the same rows, unseen
           client/         a client in Python
           shipping/       the Bento and the image

Imports go from web to champions, lines, values, and to what requests share. Nothing here imports
`training`, and a running service imports no training library.
"""

import sys

if sys.argv[0] == "-m":  # as it is while Python looks for the module of `python -m serving.predict`
    from common.interrupt import exit_on_ctrl_c

    exit_on_ctrl_c()
