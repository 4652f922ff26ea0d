"""Each file is read by its own tool, where that is installed: haproxy, promtool (Debian: prometheus)."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.config import PREFIX, Settings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = ["docker-compose.yml", "docker-compose.cuda.yml"]


def run(tool: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    return subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True)


def compose(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize(
    ("schema", "name"),
    [*(("compose-spec", name) for name in COMPOSE), ("github-workflows", ".github/workflows/ci.yml")],
)
def test_a_file_keeps_to_its_schema(schema: str, name: str) -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", name]
    done = subprocess.run(checker, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_sets_only_settings_that_there_are() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    services = [service for name in COMPOSE for service in compose(name)["services"].values()]
    used = {name for s in services for name in s.get("environment", {}) if name.startswith(PREFIX)}
    assert used
    assert used - known == set()


def test_only_the_proxy_and_grafana_are_published_and_only_to_this_machine() -> None:
    published = {n: s["ports"] for n, s in compose(COMPOSE[0])["services"].items() if "ports" in s}
    assert set(published) == {"proxy", "grafana"}
    assert all(":-127.0.0.1:" in port for ports in published.values() for port in ports)


def test_every_secret_must_be_given() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|KEY)\w*)([^}]*)\}", (ROOT / COMPOSE[0]).read_text())
    assert {name for name, _ in secrets} == {"POSTGRES_PASSWORD", "OPERATOR_KEY", "GRAFANA_PASSWORD"}
    assert all(rest.startswith(":?") for _, rest in secrets)


def test_what_compose_mounts_and_builds_is_there() -> None:
    services = compose(COMPOSE[0])["services"].values()
    mounted = [v.split(":")[0] for s in services for v in s.get("volumes", []) if v.startswith("./")]
    assert len(mounted) == 4
    assert [path for path in mounted if not (ROOT / path).is_dir()] == []
    stages = re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert stages[-1] == "cpu"  # what a build without --target makes
    assert compose(COMPOSE[0])["services"]["api"]["build"]["target"] == "cpu"
    assert compose(COMPOSE[1])["services"]["api"]["build"]["target"] in stages


def test_haproxy_reads_its_configuration() -> None:
    done = run("haproxy", "-c", "-f", "deploy/proxy/haproxy.cfg")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")]
)
def test_prometheus_reads_its_configuration_and_alerts_fire_when_they_shall(
    arguments: tuple[str, ...],
) -> None:
    done = run("promtool", *arguments, folder=DEPLOY / "prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_asks_the_service_that_compose_names() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert found["names"][0] in compose(COMPOSE[0])["services"]


def expressions() -> list[str]:
    """What the dashboard asks, with Grafana's own variable filled in."""
    panels = json.loads((DEPLOY / "grafana/dashboards/transrec.json").read_text())["panels"]
    return [
        target["expr"].replace("$__rate_interval", "1m")
        for panel in panels
        for target in panel.get("targets", [])
    ]


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    asked = expressions()
    assert len(asked) > 20
    rules = [{"record": f"asked:{n}", "expr": expression} for n, expression in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = run("promtool", "check", "rules", "rules.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_uses_the_data_source_that_is_provisioned() -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/transrec.json").read_text())
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
