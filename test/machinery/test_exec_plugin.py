"""Exec plugins, each a real program that the test writes: what they are told, when they run, and all they do wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import ssl
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

import pytest
from aiohttp import web

from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.errors import ApiError, ConfigurationError
from kaito_controller.machinery.rest.exec_plugin import OUTPUT_BYTES, ExecPlugin
from kaito_controller.machinery.rest.exec_protocol import VERSIONS, CredentialsError, PluginSettings
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.authority import Authority
from kaito_controller.testing.loopback import ImpatientClock, listening, serving, status, write_kubeconfig

V1, V1BETA1 = VERSIONS
pytestmark = pytest.mark.scenario("RC4")


def program(folder: Path, text: str, name: str = "plugin") -> Path:
    """A shell script that the kubeconfig can name."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def credential(version: str = V1, **fields: str) -> str:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": fields})


def counting(folder: Path, **fields: str) -> Path:
    """A program that answers token-1, token-2 ..., one per run, and writes down what it was asked."""
    answer = credential(token="token-NUMBER", **fields)
    return program(
        folder,
        f"""cd {shlex.quote(str(folder))}
echo "$KUBERNETES_EXEC_INFO" >> asked
number=$(wc -l < asked)
echo '{answer}' | sed "s/NUMBER/$((number))/" """,
    )


def user(command: Path | str, version: str = V1, **fields: object) -> dict[str, object]:
    return {"exec": {"apiVersion": version, "command": str(command), "interactiveMode": "Never"} | fields}


class Server:
    """Writes down the tokens it is shown and refuses some."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.shown: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return status(401, "Unauthorized") if self.shown[-1] in self.refused else web.json_response({})


def runs(folder: Path) -> int:
    return len((folder / "asked").read_text().splitlines())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a process sets no event of ours
            await asyncio.sleep(0.01)


async def test_without_an_expiry_it_runs_once_until_a_401(tmp_path: Path) -> None:
    """Thirty requests, ten at a time, cost one run; the first 401 another, whose token the request is sent with."""
    server = Server()
    async with serving(server.answer, tmp_path, user(counting(tmp_path)), clock=ImpatientClock()) as transport:
        assert not (tmp_path / "asked").exists()
        await asyncio.gather(*(transport.request("GET", "/x") for _ in range(10)))
        for _ in range(20):
            await transport.request("GET", "/x")
        assert (runs(tmp_path), set(server.shown)) == (1, {"token-1"})
        server.refused.add("token-1")
        await asyncio.gather(*(transport.request("GET", "/x") for _ in range(10)))
    assert runs(tmp_path) == 2
    assert server.shown[-1] == "token-2"


async def test_a_token_that_every_run_gets_refused_is_an_error(tmp_path: Path) -> None:
    """One more run and one more try per request, not a loop."""
    server = Server("token-1", "token-2", "token-3")
    async with serving(server.answer, tmp_path, user(counting(tmp_path))) as transport:
        with pytest.raises(ApiError, match="401"):
            await transport.request("GET", "/x")
    assert (server.shown, runs(tmp_path)) == (["token-1", "token-2"], 2)


async def test_a_late_401_for_credentials_of_before_costs_no_run(tmp_path: Path) -> None:
    """What was refused is not what is used now."""
    settings = PluginSettings(api_version=V1, command=str(counting(tmp_path)))
    plugin = ExecPlugin(settings=settings, clock=RealClock())
    first = await plugin.credentials()
    plugin.refuse(first)
    second = await plugin.credentials()
    plugin.refuse(first)
    assert await plugin.credentials() is second
    assert (first.token, second.token, runs(tmp_path)) == ("token-1", "token-2", 2)


async def test_it_runs_again_once_its_answer_expired(tmp_path: Path) -> None:
    """An answer in the past is used for the request that asked, and no longer; one in the future is kept."""
    server = Server()
    past, future = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00.123456789Z"
    (tmp_path / "late").mkdir()
    async with serving(server.answer, tmp_path, user(counting(tmp_path, expirationTimestamp=past))) as transport:
        for _ in range(3):
            await transport.request("GET", "/x")
    command = counting(tmp_path / "late", expirationTimestamp=future)
    async with serving(server.answer, tmp_path, user(command)) as transport:
        for _ in range(3):
            await transport.request("GET", "/x")
    assert server.shown == ["token-1", "token-2", "token-3", "token-1", "token-1", "token-1"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_is_told_what_it_needs(tmp_path: Path, version: str) -> None:
    """Arguments, environment, and KUBERNETES_EXEC_INFO with the cluster where that is asked for."""
    answer = credential(version, token="t")
    command = program(tmp_path, f'echo "$KUBERNETES_EXEC_INFO|$MODE|$1|$2" > "{tmp_path}/asked"; echo \'{answer}\'')
    settings = user(command.name, version, args=["get token", "--x"], env=[{"name": "MODE", "value": "dark"}])
    settings["exec"] |= {"command": "./plugin", "provideClusterInfo": True}
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "us"}}
    authority = base64.b64encode(b"pem").decode()
    cluster = {"certificate-authority-data": authority, "extensions": [extension], "tls-server-name": "api"}
    async with serving(Server().answer, tmp_path, settings, cluster=cluster) as transport:
        await transport.request("GET", "/x")
        host = transport.host
    info, *rest = (tmp_path / "asked").read_text().strip().split("|")
    told = {"server": host, "tls-server-name": "api", "certificate-authority-data": authority}
    spec = {"interactive": False, "cluster": told | {"config": {"audience": "us"}}}
    assert json.loads(info) == {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    assert rest == ["dark", "get token", "--x"]


async def test_without_being_asked_it_is_told_nothing_of_the_cluster(tmp_path: Path) -> None:
    """`provideClusterInfo` is off unless the kubeconfig says so."""
    async with serving(Server().answer, tmp_path, user(counting(tmp_path))) as transport:
        await transport.request("GET", "/x")
    assert json.loads((tmp_path / "asked").read_text())["spec"] == {"interactive": False}


WRONG = {
    "not JSON": ("echo Please log in", "must print JSON; found 14 bytes of something else"),
    "deep": (f"{sys.executable} -c \"print('[' * 100000)\"", "must print JSON"),
    "another kind": ('echo \'{"kind": "Pod"}\'', "must print an ExecCredential; found kind 'Pod'"),
    "a list": ("echo '[]'", "must print an ExecCredential; found a list"),
    "another version": (f"echo '{credential(V1BETA1, token='t')}'", f"apiVersion must be {V1}, .*found '{V1BETA1}'"),
    "no status": (f'echo \'{{"apiVersion": "{V1}", "kind": "ExecCredential"}}\'', "status must hold the credentials"),
    "nothing in it": (f"echo '{credential()}'", "a token, or a certificate and its key; found neither"),
    "half a pair": (f"echo '{credential(token='t', clientKeyData='k')}'", "belong together; found one of them"),
    "no certificate": (f"echo '{credential(clientCertificateData='c', clientKeyData='k')}'", "cannot be used"),
    "two words": (f"echo '{credential(token='two words')}'", "one word of printable ASCII"),
    "no time": (f"echo '{credential(token='t', expirationTimestamp='soon')}'", "soon"),
    "failing": ("echo 'session is over' >&2; exit 7", r"ended with code 7 \(session is over\)"),
    "failing silently": ("exit 1", r"ended with code 1 \(it said nothing\)"),
    "killed": ("kill -9 $$", "ended with code -9"),
    "endless": (f"yes {'x' * 1000}", f"it printed over {OUTPUT_BYTES} bytes"),
    "endless complaint": (f"yes {'x' * 1000} >&2", "ended with code -9"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_plugin_gone_wrong_teaches_and_recovers(tmp_path: Path, case: str) -> None:
    """Nothing is sent, the error names program, rule and what was found, and a mended program is used at once."""
    text, message = WRONG[case]
    command = program(tmp_path, text)
    server = Server()
    async with serving(server.answer, tmp_path, user(command)) as transport:
        with pytest.raises(CredentialsError, match=message) as failed:
            await transport.request("GET", "/x")
        assert str(command) in str(failed.value) or "certificate" in str(failed.value)
        program(tmp_path, f"echo '{credential(token='mended')}'")
        assert await transport.request("GET", "/x") == {}
    assert server.shown == ["mended"]


@pytest.mark.parametrize("printed", ["sesame-open", '"sesame-open"', '{"token": "sesame-open"}', '{"kind": "sesame'])
async def test_a_token_that_is_printed_bare_is_in_no_error(tmp_path: Path, printed: str) -> None:
    """Errors go to the log; a program that prints tokens in another form is a common mistake in a kubeconfig."""
    command = program(tmp_path, f"echo '{printed}'")
    async with serving(Server().answer, tmp_path, user(command)) as transport:
        with pytest.raises(CredentialsError, match="must print") as failed:
            await transport.request("GET", "/x")
    assert "sesame" not in "".join(traceback.format_exception(failed.value))


async def test_a_plugin_that_is_not_there_comes_with_its_hint(tmp_path: Path) -> None:
    """The kubeconfig's installHint is the remedy."""
    settings = user("kube-login-of-nobody", installHint="get it with your package manager")
    async with serving(Server().answer, tmp_path, settings) as transport:
        with pytest.raises(CredentialsError, match=r"kube-login-of-nobody: cannot be run .*get it with your package"):
            await transport.request("GET", "/x")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"apiVersion": "client.authentication.k8s.io/v1alpha1"},
            r"exec.apiVersion: must be .*/v1 or .*/v1beta1; found",
        ),
        ({"apiVersion": None}, "exec.apiVersion"),
        ({"command": ""}, "exec.command: must name the program"),
        ({"interactiveMode": "Always"}, "exec.interactiveMode of .*without a terminal"),
        ({"env": ["A=1"]}, "exec.args and exec.env"),
    ],
)
async def test_a_section_that_cannot_work_is_refused_at_the_start(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    """The file and the field are named."""
    settings = user("true")
    settings["exec"] |= fields
    transport = AioTransport(kubeconfig=write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", settings))
    with pytest.raises(ConfigurationError, match=message) as failed:
        await transport.open()
    assert str(tmp_path / "kubeconfig") in str(failed.value)


async def test_a_hung_plugin_is_killed_with_its_children(tmp_path: Path) -> None:
    """Everybody who waited for the run gets its error: a hung program costs one limit, not one each."""
    command = program(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child; echo x >> {tmp_path}/asked; wait")
    settings = PluginSettings(api_version=V1, command=str(command))
    plugin = ExecPlugin(settings=settings, clock=RealClock(), run_s=2)
    outcomes = await asyncio.gather(*(plugin.credentials() for _ in range(5)), return_exceptions=True)
    assert [str(each) for each in outcomes] == [f"exec plugin {command}: must answer within 2 s; it was killed"] * 5
    assert {type(each) for each in outcomes} == {CredentialsError}
    assert runs(tmp_path) == 1
    child = int((tmp_path / "child").read_text())
    await until(lambda: not _is_alive(child))


async def test_who_stops_waiting_stops_the_plugin_and_nobody_else(tmp_path: Path) -> None:
    """A cancelled request ends its run; the next in line runs the program itself."""
    # The child keeps the pipes open, as a helper of a login tool does.
    first_run = f"mkdir {tmp_path}/ran && sleep 600 & wait"
    command = program(tmp_path, f"[ -e {tmp_path}/ran ] || {{ {first_run}; }}; echo '{credential(token='t')}'")
    plugin = ExecPlugin(settings=PluginSettings(api_version=V1, command=str(command)), clock=RealClock())
    first = asyncio.create_task(plugin.credentials())
    await until((tmp_path / "ran").exists)
    second = asyncio.create_task(plugin.credentials())
    await asyncio.sleep(0)
    first.cancel()
    assert (await asyncio.wait_for(second, 10)).token == "t"
    assert first.cancelled()


async def test_who_waits_for_a_cancelled_run_is_told_of_none_before(tmp_path: Path) -> None:
    """The program failed once and was mended: the next in line finds that out by itself."""
    log_in = f"mkdir {tmp_path}/ran && sleep 600 & wait"
    text = f"[ -e {tmp_path}/mended ] || exit 1; [ -e {tmp_path}/ran ] || {{ {log_in}; }}; "
    command = program(tmp_path, text + f"echo '{credential(token='t')}'")
    plugin = ExecPlugin(settings=PluginSettings(api_version=V1, command=str(command)), clock=RealClock())
    with pytest.raises(CredentialsError, match="ended with code 1"):
        await plugin.credentials()
    (tmp_path / "mended").touch()
    first = asyncio.create_task(plugin.credentials())
    await until((tmp_path / "ran").exists)
    second = asyncio.create_task(plugin.credentials())
    await asyncio.sleep(0)
    first.cancel()
    assert (await asyncio.wait_for(second, 10)).token == "t"


async def test_a_plugin_cancelled_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    """Whatever the moment: the request ends at once, and nothing of the program lives on."""
    command = program(tmp_path, f"sleep 600 & echo $! >> {tmp_path}/children; wait")
    plugin = ExecPlugin(settings=PluginSettings(api_version=V1, command=str(command)), clock=RealClock())
    for steps in range(12):
        task = asyncio.create_task(plugin.credentials())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
    children = tmp_path / "children"
    pids = children.read_text().split() if children.exists() else []
    await until(lambda: not any(_is_alive(int(pid)) for pid in pids))


@pytest.mark.scenario("RF21")
async def test_a_plugin_cancelled_while_it_cannot_be_run_is_cancelled(tmp_path: Path) -> None:
    """A reflector takes any other error for one more failure, and would go on for ever."""
    plugin = ExecPlugin(settings=PluginSettings(api_version=V1, command=str(tmp_path / "none")), clock=RealClock())
    for steps in range(12):
        task = asyncio.create_task(plugin.credentials())
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 10)
        else:
            with pytest.raises(CredentialsError):
                task.result()


async def test_a_helper_that_leaves_the_session_hangs_nobody(tmp_path: Path) -> None:
    """An agent that a login tool starts may keep the pipe for ever: an error in time, and its life is its own."""
    command = program(tmp_path, f"setsid sleep 600 & echo $! > {tmp_path}/agent; echo '{credential(token='t')}'")
    settings = PluginSettings(api_version=V1, command=str(command))
    plugin = ExecPlugin(settings=settings, clock=RealClock(), run_s=2)
    with pytest.raises(CredentialsError, match=r"must answer within 2 s"):
        await asyncio.wait_for(plugin.credentials(), 10)
    agent = int((tmp_path / "agent").read_text())
    assert _is_alive(agent)
    os.kill(agent, SIGKILL)
    await until(lambda: not _is_alive(agent))
    for _ in range(5):  # asyncio hears of the closed pipe
        await asyncio.sleep(0.01)


async def test_a_helper_with_pipes_of_its_own_is_left_alone(tmp_path: Path) -> None:
    """A plugin that succeeded may leave something behind to refresh its cache."""
    agent = f"sleep 600 >/dev/null 2>&1 & echo $! > {tmp_path}/agent"
    command = program(tmp_path, f"{agent}; echo '{credential(token='t')}'")
    plugin = ExecPlugin(settings=PluginSettings(api_version=V1, command=str(command)), clock=RealClock())
    assert (await plugin.credentials()).token == "t"
    pid = int((tmp_path / "agent").read_text())
    assert _is_alive(pid)
    os.kill(pid, SIGKILL)


async def test_a_written_token_goes_before_the_plugin(tmp_path: Path) -> None:
    """As in client-go: credentials in the kubeconfig itself are meant."""
    server = Server()
    async with serving(server.answer, tmp_path, user("false") | {"token": "written"}) as transport:
        await transport.request("GET", "/x")
    assert server.shown == ["written"]


async def test_a_new_client_certificate_replaces_the_connections(tmp_path: Path) -> None:
    """Calls go over new connections as whom the plugin says, and a watch of the old name ends to be opened again."""
    authority = Authority.make()
    (tmp_path / "ca.crt").write_text(authority.pem)
    for name in ("anna", "bert"):
        pair = authority.issue(name)
        answer = credential(clientCertificateData=pair.certificate, clientKeyData=pair.key)
        (tmp_path / name).write_text(answer)
    (tmp_path / "now").write_text("anna")
    command = program(tmp_path, f'cd "{tmp_path}"; cat $(cat now)')
    refused: set[str] = set()
    release = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert")
        name = dict(pair[0] for pair in peer["subject"])["commonName"]
        if name in refused:
            return status(401, "Unauthorized")
        if request.path != "/watch":
            return web.json_response({"name": name})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(name.encode())
        await release.wait()
        return response

    tls = authority.server_context(clients=True)
    cluster = {"certificate-authority": "ca.crt"}
    async with serving(handler, tmp_path, user(command), tls=tls, cluster=cluster) as transport:
        assert await transport.request("GET", "/x") == {"name": "anna"}
        async with transport.stream("GET", "/watch") as chunks:
            assert await anext(chunks) == b"anna"
            (tmp_path / "now").write_text("bert")
            refused.add("anna")
            assert await transport.request("POST", "/x", body={}) == {"name": "bert"}
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(anext(chunks), 10)
        async with transport.stream("GET", "/watch") as chunks:
            assert await anext(chunks) == b"bert"
        release.set()


async def test_the_key_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are read from files only; the one that held it is gone before the first request."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    authority = Authority.make()
    pair = authority.issue("anna")
    (tmp_path / "ca.crt").write_text(authority.pem)
    (tmp_path / "answer").write_text(credential(clientCertificateData=pair.certificate, clientKeyData=pair.key))
    command = program(tmp_path, f"cat {tmp_path}/answer")
    tls: ssl.SSLContext = authority.server_context(clients=True)
    cluster = {"certificate-authority": "ca.crt"}

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"left": [each.name for each in folder.iterdir()]})

    async with listening(handler, tls) as url:
        path = write_kubeconfig(tmp_path / "kubeconfig", url, user(command), cluster)
        async with AioTransport(kubeconfig=path) as transport:
            assert await transport.request("GET", "/x") == {"left": []}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1]
