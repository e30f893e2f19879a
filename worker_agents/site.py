"""The HTTP side as the settings describe it: probes, metrics, the API, the status page and what can be done there."""

from __future__ import annotations

from worker_agents.integrations import Integrations
from worker_agents.model.clock import Clock
from worker_agents.model.structs import struct
from worker_agents.overview import Surroundings
from worker_agents.settings import Settings, describe
from worker_agents.telemetry.masking import SecretMasker
from worker_agents.web.actions import action_routes
from worker_agents.web.api import api_routes
from worker_agents.web.app import create_app
from worker_agents.web.operator_actions import OperatorActions
from worker_agents.web.page import LiveFeed, Sessions, page_routes
from worker_agents.web.server import HttpServer
from worker_agents.web.status import MetricsSource, ServiceStatus
from worker_agents.web.views import SettingView, StatusSource


@struct
class Site:
    """Who answers what is asked for."""

    status: ServiceStatus
    metrics: MetricsSource
    overview: StatusSource
    actions: OperatorActions


def http_server(settings: Settings, site: Site, clock: Clock) -> HttpServer:
    """The server, unstarted; pages that are kept live end when it stops."""
    feed = LiveFeed()
    routes = [
        *action_routes(site.actions, settings.admin_token),
        *api_routes(site.overview),
        *page_routes(site.overview, feed, site.actions, Sessions(settings.admin_token, clock)),
    ]
    app = create_app(site.status, site.metrics, routes)
    return HttpServer(app, settings.http_host, settings.http_port, on_stop=feed.close)


def surroundings(settings: Settings, task_types: tuple[str, ...], integrations: Integrations) -> Surroundings:
    """What the overview tells of the worker besides what happens in it."""
    return Surroundings(
        worker_id=settings.worker_id,
        task_types=task_types,
        integrations={
            "code_forge": settings.code_forge_enabled,
            "opa": settings.opa_enabled,
            "argocd": settings.argocd_enabled,
            "trivy": settings.trivy_enabled,
            "vault": settings.vault_enabled,
        },
        breakers=integrations.breakers,
        settings=tuple(
            SettingView(variable=row.variable, value=row.value_masked, source=row.source, description=row.description)
            for row in describe(settings)
        ),
        masker=SecretMasker(settings.secret_values()),
        trace_url=settings.trace_url_template,
    )
