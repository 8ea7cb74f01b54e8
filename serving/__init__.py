"""Bundle → answers: the BentoML service.

    python -m serving            the champion at http://127.0.0.1:3000    (make serve)
    python -m serving.predict    ask it about the last run's example      (make predict)

    __main__.py   the launcher: settings, champion, port; starts the service and ends it
    address.py    where it listens
    served.py     what the launcher hands over to the service
    schema.py     types of the request and the answer, made from the bundle's feature schema
    service.py    the service itself
    pages.py      its first page, and its OpenAPI description
    predict.py    a small client

Nothing here imports `training`, and a running service imports no training library.
"""
