"""Write every generated file anew: ``python -m tools.generate``."""

from pathlib import Path

from tools.generate.dashboard import dashboard_json
from tools.generate.metrics_reference import metrics_reference

ROOT = Path(__file__).parents[2]
FILES = {
    ROOT / "docs" / "metrics.md": metrics_reference,
    ROOT / "helm-charts" / "worker-agents" / "dashboards" / "worker-agents.json": dashboard_json,
}

if __name__ == "__main__":
    for path, text in FILES.items():
        path.write_text(text(), encoding="utf-8")
