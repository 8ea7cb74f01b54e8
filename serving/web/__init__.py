"""HTTP: bytes in, bytes out. The rooms behind it know nothing of it.

protocol.py  connections, with bounds on what stays open
front.py     the application before BentoML's
routes.py    which paths there are
access.py    who may ask: host, origin, token
body.py      the body, once it is whole
work.py      how much at once, and for how long
page/        GET /: the page for people, and Swagger UI's
"""
