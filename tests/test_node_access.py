"""The real node over TLS, as the user that its enrolment made it, under each interpreter against both brokers."""

import contextlib
import json
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earmark import operator
from earmark.access import node_settings
from earmark.certificates import authority_file
from earmark.cli import main
from earmark.config import Farm, open_farm
from earmark.simulation import Interpreter, NodeProcess
from earmark.statement import decode
from services import find_mosquitto, free_port, gateway, logged, make_farm, takes_connections, wait_for

ROWS = 40


@contextlib.contextmanager
def mosquitto(farm: Farm, folder: Path, later: tuple[str, ...] = ()) -> Iterator[None]:
    """Mosquitto with the files that the command writes, but for the topics that end in one of `later`."""
    assert main(["broker", "mosquitto", "--farm", str(farm.folder), "--out", str(folder), "--json"]) == 0
    lines = (folder / "acl").read_text().splitlines()
    (folder / "acl").write_text("\n".join(line for line in lines if line.rpartition("/")[2] not in later) + "\n")
    own = folder / "own.conf"  # started as root, Mosquitto would become a user that reads nothing of pytest's
    own.write_text("user root\nlog_type error\n" + (folder / "mosquitto.conf").read_text())
    process = subprocess.Popen([find_mosquitto(), "-c", str(own)])
    port = int(farm.config.broker.url.rpartition(":")[2])
    try:
        wait_for(lambda: takes_connections(port), "Mosquitto takes connections")
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(params=["embedded", "mosquitto"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def farm(kind: str, tmp_path: Path) -> Farm:
    return make_farm(tmp_path / "farm", free_port(), embedded=kind == "embedded", tls=True)


@pytest.fixture
def node(interpreter: list[str], farm: Farm, tmp_path: Path) -> Iterator[NodeProcess]:
    """A node in its folder with a copy of the authority's certificate, enrolled."""
    [program] = interpreter
    made = NodeProcess(tmp_path / "n1", Interpreter("", program))
    operator.enrol(farm, made.key(), "n1")
    (made.folder / "authority.pem").write_bytes(authority_file(farm).read_bytes())
    yield made
    made.stop()


@contextlib.contextmanager
def running(farm: Farm, kind: str, folder: Path) -> Iterator[None]:
    """The gateway and its broker."""
    with contextlib.ExitStack() as stack:
        if kind == "mosquitto":
            stack.enter_context(mosquitto(farm, folder / "mosquitto"))
        stack.enter_context(gateway(farm))
        yield


def configure(node: NodeProcess, farm: Farm, folder: Path, **broker: Any) -> None:
    rows = [f"2/1/2022 {at // 60}:{at % 60:02d},{at}.5" for at in range(ROWS)]
    (folder / "recording.csv").write_text("\n".join(["Date,Tair", *rows]) + "\n")
    sensor = {"driver": "replay", "file": str(folder / "recording.csv"), "time_column": "Date", "time_format": "mdy"}
    sensor["columns"] = {"Tair": {"name": "t", "unit": "Cel"}}  # type: ignore[assignment]
    settings = node_settings(farm, "n1", node.key())
    settings["broker"] |= {"host": "127.0.0.1", "retry_s": [0.2, 1]} | broker
    own = {"sensors": [sensor], "exit_when_done": True, "resend_s": 2, "interval_s": 1}
    node.configure(json.loads(json.dumps(settings)) | own)


def answer_in_http(portal: socket.socket) -> None:
    """Answer whoever comes, in plain HTTP, whatever they say."""
    with contextlib.suppress(OSError):
        while True:
            guest, _ = portal.accept()
            with guest:
                guest.recv(4096)
                guest.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n")


def test_a_recording_arrives_over_tls_under_the_nodes_own_user(
    node: NodeProcess, farm: Farm, kind: str, tmp_path: Path
) -> None:
    configure(node, farm, tmp_path)
    with running(farm, kind, tmp_path):
        node.start()
        wait_for(lambda: node.poll() is not None, "the node is done")
        assert node.poll() == 0, node.last_words()
    said = [decode(raw) for raw in logged(farm)]
    assert sum(len(statement.readings) for statement in said if statement.sub == "n1") == ROWS


def test_whether_it_is_there_is_known_to_whoever_watches_the_farm(
    node: NodeProcess, farm: Farm, kind: str, tmp_path: Path
) -> None:
    configure(node, farm, tmp_path)
    settings = json.loads((node.folder / "node.json").read_text()) | {"exit_when_done": False}
    node.configure(settings)
    port = free_port()
    with (farm.folder / "earmark.toml").open("a") as file:
        file.write(f"[status]\nport = {port}\n")

    def shows(value: str) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            return f'earmark_node_connected{{node="n1"}} {value}' in page.read().decode()
        return False

    with running(open_farm(farm.folder), kind, tmp_path):
        node.start()
        wait_for(lambda: shows("1.0"), "the gateway shows that the node is there")
        node.kill()
        wait_for(lambda: shows("0.0"), "the broker's last will for it shows that it is not")


@pytest.mark.parametrize("kind", ["mosquitto"])
def test_statements_pass_an_access_list_that_was_written_before_newer_topics(
    node: NodeProcess, farm: Farm, tmp_path: Path
) -> None:
    """It gives no right to the will and the word on presence, which no node may be kept away for."""
    configure(node, farm, tmp_path)
    with mosquitto(farm, tmp_path / "mosquitto", ("status", "ask", "answer")), gateway(farm):
        node.start()
        wait_for(lambda: node.poll() is not None, "the node is done")
        assert node.poll() == 0, node.last_words()
    said = [decode(raw) for raw in logged(farm)]
    assert sum(len(statement.readings) for statement in said if statement.sub == "n1") == ROWS


@pytest.mark.parametrize("kind", ["embedded"])
def test_a_broker_of_another_authority_learns_no_password(
    node: NodeProcess, farm: Farm, kind: str, tmp_path: Path
) -> None:
    other = make_farm(tmp_path / "other", free_port(), tls=True)
    (node.folder / "authority.pem").write_bytes(authority_file(other).read_bytes())
    configure(node, farm, tmp_path)
    with running(farm, kind, tmp_path):
        node.start()
        wait_for(lambda: "captive portal" in (node.folder / "node.log").read_text(), "the node says what that may be")
        assert "connected to" not in (node.folder / "node.log").read_text()


@pytest.mark.parametrize("kind", ["embedded"])
def test_a_portal_that_speaks_no_tls_is_named(node: NodeProcess, farm: Farm, kind: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as portal:
        threading.Thread(target=answer_in_http, args=(portal,), daemon=True).start()
        configure(node, farm, tmp_path, port=portal.getsockname()[1])
        node.start()
        wait_for(lambda: "no TLS there: a captive portal" in (node.folder / "node.log").read_text(), "the node says so")


@pytest.mark.parametrize("kind", ["embedded"])
def test_a_broker_of_another_name_learns_no_password(node: NodeProcess, farm: Farm, kind: str, tmp_path: Path) -> None:
    tls = {"ca": "authority.pem", "server_name": "earmark-elsewhere"}
    configure(node, farm, tmp_path, tls=tls)
    with running(farm, kind, tmp_path):
        node.start()
        wait_for(lambda: "match" in (node.folder / "node.log").read_text(), "the node says why it does not connect")
        assert "connected to" not in (node.folder / "node.log").read_text()
    assert [decode(raw).sub for raw in logged(farm)] == ["registry", "registry"]
