"""What the dashboard's queries select by; `$...` are the dashboard's variables."""

from worker_agents.model.errors import Reason

WORKERS = 'namespace=~"$namespace", pod=~"$pod"'
TICKETS = f'{WORKERS}, task_type=~"$task_type"'
# Every process has figures of these names: only those of workers are ours.
OURS = "and on (namespace, pod, job, instance) worker_agents_worker_info"
# Verdicts are answers: the system worked. Nor is it at fault for what depends on them, or was cancelled.
NO_FAULT = f"{Reason.VERDICT_FAILED}|{Reason.DEPENDENCY_FAILED}|{Reason.CANCELLED}"
