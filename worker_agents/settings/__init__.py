"""Every environment variable of the service: validated, documented, and read nowhere else.

A field ``kafka_tickets_topic`` is the variable ``KAFKA_TICKETS_TOPIC``. An empty value counts as unset, lists are
comma-separated text or JSON, and every secret ``X`` may come from the file that ``X_FILE`` names.

    settings = load_settings()              # raises SettingsInvalid with all problems at once
    settings = Settings(http_port=0)        # in tests: reads no environment, checks no contradictions
"""

from worker_agents.settings.describe import SettingRow, describe
from worker_agents.settings.environment import Source
from worker_agents.settings.integrations import Fallback, Integration
from worker_agents.settings.loading import load_settings
from worker_agents.settings.model import Reference, Settings
from worker_agents.settings.references import resolve_references

__all__ = [
    "Fallback",
    "Integration",
    "Reference",
    "SettingRow",
    "Settings",
    "Source",
    "describe",
    "load_settings",
    "resolve_references",
]
