"""The routes, by what they are about."""

from aexp.service.routes import control, health, history, pages, runs, scenarios

__all__ = ["ROUTERS"]

ROUTERS = (
    scenarios.router,
    runs.router,
    history.router,
    control.router,
    health.router,
    pages.router,
)
