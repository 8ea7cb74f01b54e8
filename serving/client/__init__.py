"""A client in Python: typed answers, and patience with a service that is busy.

    client.py  Client   errors.py  what it raises   retry.py  when it asks again

Imports nothing that a client of someone else's service would not have: httpx and msgspec.
"""

from serving.client.client import Client
from serving.client.errors import NotTheService, ServiceError, ServiceRefused, ServiceUnreachable

__all__ = ["Client", "NotTheService", "ServiceError", "ServiceRefused", "ServiceUnreachable"]
