"""What monitoring knows in Prometheus' format, and what the service takes over of it."""

from __future__ import annotations

import math
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_year import MONTHS, standing
from prometheus_client.parser import text_string_to_metric_families
from receive import installed

from common.files import RecordAltered, read_sealed, write_sealed
from common.terminal import visible
from monitoring.facts import Performance, Reading
from monitoring.prometheus import METRICS, Standing, render, write_textfile
from serving.metrics import MOST_BYTES, with_monitoring
from serving.served import METRICS as FILE

OWN = """# HELP golden_path_requests_total Requests
# TYPE golden_path_requests_total counter
golden_path_requests_total{endpoint="predict",status="200"} 7.0
# HELP golden_path_request_seconds Seconds
# TYPE golden_path_request_seconds histogram
golden_path_request_seconds_bucket{le="+Inf"} 7.0
golden_path_request_seconds_count 7.0
golden_path_request_seconds_sum 0.5
"""


def values(text: str) -> dict[tuple[str, frozenset], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_file_holds_every_metric_of_monitoring(tmp_path: Path) -> None:
    write_textfile(tmp_path / FILE, standing("2026-07"))
    text = (tmp_path / FILE).read_text()
    expected = {
        ("month_end_timestamp_seconds", ""): datetime(2026, 8, 1, tzinfo=UTC).timestamp(),
        ("verdict", "verdict=changed demand"): 1,
        ("verdict", "verdict=broken data"): 0,
        ("sensor_state", "sensor=invoices,state=alarm"): 1,
        ("sensor_state", "sensor=invoices,state=ok"): 0,
        ("sensor_z", "sensor=invoices"): -5.9,
        ("sensor_limit", "sensor=invoices"): 4,
        ("roc_auc", "version=2"): pytest.approx(0.771),
        ("observed_buyers", "version=2"): 1500,
        ("expected_buyers", "version=2"): pytest.approx(1584),
        ("scored_rows", ""): 3009,
        ("champion_version", ""): 2,
        ("alerts_open", "severity=ticket"): 1,
        ("alerts_open", "severity=page"): 0,
        ("alerts_queued", ""): 1,
        ("last_success_timestamp_seconds", "command=operate"): datetime(
            2026, 8, 1, 3, tzinfo=UTC
        ).timestamp(),
    }
    for (name, labels), number in expected.items():
        parts = dict(label.split("=") for label in labels.split(",") if label)
        key = frozenset({"dataset": "shop-1", **parts}.items())
        assert values(text)[f"golden_path_{name}", key] == number, name
    names = {name for name, _ in values(text)}
    assert names == set(METRICS), "every metric is there"
    nothing_judged = {name for name, _ in values(render(Standing("shop-1")))}
    assert nothing_judged == {"golden_path_alerts_open", "golden_path_alerts_queued"}


def test_labels_are_bounded() -> None:
    one = Performance(1, ("2026-08-01",), 10, 5, 0.5, 0.5, roc_auc=0.7)
    performance = [replace(one, version=version) for version in range(1, 500)]
    readings = [Reading(f"sensor {number}", "2026-07", "ok", 1.0) for number in range(500)]
    text = render(Standing("shop-1", readings=readings, performance=performance))
    versions = {dict(labels)["version"] for name, labels in values(text) if "roc_auc" in name}
    assert versions == {str(version) for version in range(490, 500)}
    assert len(values(text)) < 1000


NUMBERS = st.none() | st.floats()


@pytest.mark.slow
@given(st.text(max_size=20), st.text(max_size=20), st.lists(NUMBERS, min_size=4, max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_reading_is_read_back_unchanged(dataset, sensor, numbers) -> None:
    names = ("value", "expected", "z", "limit")
    reading = Reading(sensor, "2026-07", "ok", **dict(zip(names, numbers)))
    text = render(Standing(dataset, readings=[reading]))
    found = values(text)
    labels = frozenset({"dataset": visible(dataset), "sensor": visible(sensor)}.items())
    for name, number in zip(names, numbers):
        finite = number is not None and math.isfinite(number)
        assert found.get((f"golden_path_sensor_{name}", labels)) == (number if finite else None)
    assert found == values(with_written(text))


def with_written(text: str) -> str:
    """What the service makes of a file with this text, without its own lines."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_sealed(Path(folder) / "x.prom", text)
        answered = with_monitoring(OWN, Path(folder) / "x.prom")
    assert 'state="passed on"} 1.0' in answered
    lines = answered.removeprefix(OWN.rstrip()).split("\n")
    return "\n".join(line for line in lines if "monitoring_file" not in line) + "\n"


@pytest.mark.slow
def test_promtool_accepts_the_metrics(tmp_path: Path) -> None:
    for text in (render(standing("2026-07")), with_monitoring(OWN, tmp_path / "none")):
        done = subprocess.run(
            [installed("promtool"), "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr.strip(), done.stderr


# --- the service passes it on -------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metrics") / FILE


def test_a_whole_file_is_passed_on(file: Path) -> None:
    for month in MONTHS[::6]:
        write_textfile(file, standing(month))
        answered = values(with_monitoring(OWN, file))
        assert answered.items() >= (values(OWN) | values(render(standing(month)))).items()


def refused(text: str, state: str = "refused") -> None:
    assert text.startswith(OWN.rstrip())
    found = values(text)
    states = {dict(labels)["state"]: one for (name, labels), one in found.items() if "file" in name}
    assert states == {"passed on": 0, "missing": 0, "refused": 0, state: 1}
    assert set(found) - set(values(OWN)) == {key for key in found if "file" in key[0]}


def test_a_missing_half_written_or_huge_file_is_left_out(
    file: Path,
) -> None:
    refused(with_monitoring(OWN, file.with_name("none")), "missing")
    write_textfile(file, standing(MONTHS[0]))
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole + b"x 1\n", b"", b"x" * (MOST_BYTES + 1)):
        file.write_bytes(damaged)
        refused(with_monitoring(OWN, file))
    refused(with_monitoring(OWN, file.parent))  # a folder


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE golden_path_requests_total gauge\ngolden_path_requests_total 1\n",
        "# TYPE golden_path_request_seconds_count gauge\ngolden_path_request_seconds_count 1\n",
        "# TYPE golden_path_monitoring_file gauge\ngolden_path_monitoring_file 1\n",
        "# TYPE up gauge\nup 1\n",
        "# TYPE golden_path_x counter\ngolden_path_x_total 1\n",
        "golden_path_x 1\n",
        "# TYPE golden_path_x gauge\ngolden_path_x 1 1700000000\n",
        "# TYPE golden_path_x gauge\ngolden_path_x 1\ngolden_path_x 2\n",
        '# TYPE golden_path_x gauge\ngolden_path_x{a="' + "y" * 300 + '"} 1\n',
        "# TYPE golden_path_x gauge\n"
        + "".join(f'golden_path_x{{a="{n}"}} 1\n' for n in range(6000)),
        "# TYPE golden_path_x gauge\ngolden_path_x one\n",
        "<html>",
    ],
)
def test_a_sealed_file_with_invalid_metrics_is_left_out(file: Path, text: str) -> None:
    write_sealed(file, text)
    refused(with_monitoring(OWN, file))


@pytest.mark.slow
@given(st.binary(max_size=300), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_makes_a_scrape_fail(file: Path, content: bytes, sealed: bool) -> None:
    if sealed:
        write_sealed(file, content.decode("latin-1"))
    else:
        file.write_bytes(content)
    answered = values(with_monitoring(OWN, file))
    assert answered.items() >= values(OWN).items()


@pytest.mark.slow
@given(st.text(max_size=200).map(lambda text: text + "\n"), st.integers(0, 10**6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sealed_text_is_read_back_or_the_change_is_noticed(file: Path, text, place) -> None:
    write_sealed(file, text)
    assert read_sealed(file, 10_000) == text.encode().decode()
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 1
    file.write_bytes(content)
    with pytest.raises(RecordAltered):
        read_sealed(file, 10_000)
