"""The status page: rendered here, kept live by server-sent events, of use without JavaScript."""

from worker_agents.web.page.live import LiveFeed
from worker_agents.web.page.routes import page_routes

__all__ = ["LiveFeed", "page_routes"]
