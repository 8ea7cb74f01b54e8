"""The ways in which a client gets no answer."""

from __future__ import annotations

from serving.refusal import Problem, Refusal


class ServiceError(Exception):
    """No answer came that can be used. `url`: whom the client asked."""

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message)
        self.url = url


class ServiceUnreachable(ServiceError):
    """Nothing answers there, or not in time."""


class NotTheService(ServiceError):
    """Something answers there, but not as this service does."""

    def __init__(self, message: str, url: str, status: int) -> None:
        super().__init__(message, url)
        self.status = status


class ServiceRefused(ServiceError):
    """The service said no. status, code, error and detail: as `serving/refusal.py` has them."""

    def __init__(self, url: str, status: int, refusal: Refusal) -> None:
        super().__init__(f"{refusal.error} ({status} {refusal.code})", url)
        self.status, self.code, self.error = status, refusal.code, refusal.error
        self.detail: list[Problem] = refusal.detail
