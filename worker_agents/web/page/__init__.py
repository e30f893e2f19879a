"""The status page: rendered here, kept live by server-sent events, of use without JavaScript."""

from worker_agents.web.page.live import LiveFeed
from worker_agents.web.page.routes import page_routes
from worker_agents.web.page.sessions import Sessions

__all__ = ["LiveFeed", "Sessions", "page_routes"]
