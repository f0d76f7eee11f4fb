"""The files an operator copies: alerts name metrics that exist, units and images fit the defaults."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from relay.config import Limits, Scanners, load
from relay.emit import Emitter, metrics
from relay.events import vocabulary

ROOT = Path(__file__).resolve().parent.parent
ALERTS = yaml.safe_load((ROOT / "config/alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r["alert"])
def test_an_alert_asks_for_what_is_there(rule: dict, tmp_path: Path) -> None:
    shown = re.findall(r"^# TYPE (\S+) \w+", metrics(tmp_path, 0.0).decode(), re.M)
    shown += [f"aup_relay_{scanner}_down" for scanner in Scanners.model_fields]  # where one is configured
    labels = {f"aup_relay_{kind.name.replace('.', '_')}_total": set(kind.labels) for kind in vocabulary()}
    for name, _, asked in re.findall(r"(aup_relay_\w+)(\{([^}]*)\})?", rule["expr"]):
        assert re.sub(r"_(bucket|sum|count)$", "", name) in shown, name
        if name in labels:
            assert set(re.findall(r"(\w+)=", asked)) <= labels[name], name
    assert set(rule["annotations"]) == {"summary", "look"}


def test_the_configuration_of_compose_is_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(ROOT / "config/compose/relay.yaml")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ports = {int(port.rsplit(":", 1)[1]) for port in services["relay"]["ports"]}
    assert config.http.public is not None
    assert config.http.admin is not None
    assert ports == {config.listen[0].port, config.http.public.port, config.http.admin.port}
    assert config.next_hop.host in services
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"AUP_RELAY_HEALTH=http://127.0.0.1:{config.http.public.port}/healthz" in dockerfile
    assert all(re.search(rf"^EXPOSE.*\b{port}\b", dockerfile, re.M) for port in ports)


def test_whoever_stops_the_relay_waits_for_the_drain() -> None:
    unit = re.search(r"TimeoutStopSec=(\d+)", (ROOT / "config/aup-relay.service").read_text())
    compose = re.search(r"stop_grace_period: (\d+)s", (ROOT / "compose.yaml").read_text())
    assert unit is not None
    assert compose is not None
    assert min(int(unit[1]), int(compose[1])) > Limits().drain + 10


def test_the_unit_is_one_systemd_accepts(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (ROOT / "config/aup-relay.service").read_text().replace("/opt/aup-relay/bin/aup-relay", "/bin/true")
    path = tmp_path / "aup-relay.service"
    path.write_text(unit)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
    assert str(path.name) not in done.stderr, done.stderr


def test_gauges_of_one_process_reach_the_page(tmp_path: Path) -> None:
    class Log:
        level, format, addresses = "info", "json", False

    emit = Emitter(Log(), "office", tmp_path / "office.json", write=lambda line: None, clock=lambda: 5.0)
    emit.flush()
    assert b"aup_relay_loop_lag_max_seconds 0.0" in metrics(tmp_path, 5.0)
