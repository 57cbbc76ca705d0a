"""A stand-in for Azure Machine Learning on loopback: as much of its HTTP API, and of its storage's, as a job needs.

It speaks TLS with a certificate of its own, hands out tokens, keeps what is uploaded, and runs a job for real: its code
is laid out in a new folder, and its command run there by a shell. Nothing of slmops or Azure's packages is replaced;
they are told by Azure's own environment variables which cloud to ask.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.endpoint import running

STORE, CONTAINER = "workspaceblobstore", "azureml-blobstore"
WORKSPACE = {"subscription": "11111111-2222-3333-4444-555555555555", "resource_group": "rg", "workspace": "ws"}
_PROVIDER = "/providers/Microsoft.MachineLearningServices/workspaces/ws"
_BASE = f"/subscriptions/{WORKSPACE['subscription']}/resourceGroups/rg{_PROVIDER}"

Said = tuple[int, Any]


class Azure(ThreadingHTTPServer):
    """`jobs` are what was submitted, by name; `blobs` what is stored, by container and path; `asked` every request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.port = folder, self.server_address[1]
        self.url = f"https://localhost:{self.port}"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.runs: list[threading.Thread] = []
        self.breaks = self.spoils = False  # what is wrong with the next jobs: nothing starts; an output is changed

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Said:
        """Status and JSON of the management and data planes."""
        data = json.loads(body) if body[:1] == b"{" else {}
        for pattern, verb, say in _ROUTES:
            if verb in (method, "*") and (match := re.fullmatch(pattern, path)):
                return say(self, data, *match.groups())
        return 404, {"error": {"code": "NotFound", "message": f"{method} {path} is not known here"}}

    def submit(self, data: dict[str, Any], name: str) -> Said:
        properties = data["properties"] | {"status": "Queued"}
        services = {"Studio": {"endpoint": f"{self.url}/studio/{name}", "jobServiceType": "Studio"}}
        self.jobs[name] = {
            "id": f"{_BASE}/jobs/{name}",
            "name": name,
            "properties": properties | {"services": services},
        }
        self.runs.append(threading.Thread(target=self._run, args=(name,), daemon=True))
        self.runs[-1].start()
        return 201, self.jobs[name]

    def job(self, data: dict[str, Any], name: str) -> Said:
        return (200, self.jobs[name]) if name in self.jobs else (404, {"error": {"code": "UserError", "message": name}})

    def _run(self, name: str) -> None:
        """The job, as its compute would run it."""
        properties = self.jobs[name]["properties"]
        if self.breaks:
            properties["status"] = "Failed"
            return
        properties["status"] = "Running"
        place, made = self.folder / name / "code", self.folder / name / "made"
        made.mkdir(parents=True)
        uri = self.codes[properties["codeId"].split("/codes/")[1]]["codeUri"]
        prefix = urlsplit(uri).path.lstrip("/") + "/"
        for path, content in list(self.blobs.items()):
            if path.startswith(prefix):
                file = place / path.removeprefix(prefix)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        command = properties["command"].replace("${{outputs.made}}", str(made))
        own = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLMOPS_CACHE": str(self.folder / "cache"),
        }
        done = subprocess.run(["bash", "-c", command], cwd=place, env=os.environ | own, capture_output=True, text=True)
        (self.folder / name / "log.txt").write_text(done.stdout + done.stderr)
        for file in sorted(made.rglob("*")):
            if file.is_file():
                where = f"{CONTAINER}/azureml/{name}/made/{file.relative_to(made).as_posix()}"
                content = file.read_bytes()
                self.blobs[where] = content[::-1] if self.spoils and "files" in file.parts else content
        properties["status"] = "Failed" if done.returncode else "Completed"

    def store_blob(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, bytes, Any]:
        """Status, content and headers of the storage: blobs by container and path, put, got and listed."""
        name = unquote(path).lstrip("/")
        if query.get("comp") == ["list"]:
            return 200, self._listed(name, query.get("prefix", [""])[0]), {"Content-Type": "application/xml"}
        if method == "PUT":
            if query.get("comp") == ["metadata"]:
                return 200, b"", {}
            self.blobs[name] = body
            return 201, b"", {}
        content = self.blobs.get(name)
        if content is None:
            return 404, b"", {"x-ms-error-code": "BlobNotFound"}
        size = len(content)
        told = {"Content-Range": f"bytes 0-{size - 1}/{size}", "x-ms-blob-type": "BlockBlob", "ETag": '"1"'}
        return 206 if size and method == "GET" else 200, content, told

    def _listed(self, container: str, prefix: str) -> bytes:
        found = [name.removeprefix(f"{container}/") for name in sorted(self.blobs) if name.startswith(f"{container}/")]
        items = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>"
            f"{len(self.blobs[f'{container}/{name}'])}</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name in found
            if name.startswith(prefix)
        )
        head = f'<?xml version="1.0"?><EnumerationResults ContainerName="{container}">'
        return f"{head}<Blobs>{items}</Blobs><NextMarker/></EnumerationResults>".encode()


def _cloud(azure: Azure, data: dict[str, Any]) -> Said:
    suffixes = {"storage": f"localhost:{azure.port}"}
    login = {"loginEndpoint": azure.url, "audiences": [azure.url]}
    return 200, [
        {
            "name": "Loopback",
            "portal": "https://portal.loop.back",
            "resourceManager": azure.url,
            "authentication": login,
            "suffixes": suffixes,
        }
    ]


def _token(azure: Azure, data: dict[str, Any]) -> Said:
    later = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
    return 200, {"access_token": "a.token", "expires_on": str(later), "token_type": "Bearer", "resource": azure.url}


def _workspace(azure: Azure, data: dict[str, Any]) -> Said:
    properties = {"discoveryUrl": f"{azure.url}/discovery", "workspaceId": "1", "friendlyName": "ws"}
    return 200, {"id": _BASE, "name": "ws", "location": "here", "kind": "Default", "properties": properties}


def _discovery(azure: Azure, data: dict[str, Any]) -> Said:
    return 200, {"api": azure.url, "history": azure.url}


def _compute(azure: Azure, data: dict[str, Any], name: str) -> Said:
    properties = {"computeType": "AmlCompute", "provisioningState": "Succeeded", "properties": {}}
    return 200, {"id": f"{_BASE}/computes/{name}", "name": name, "location": "here", "properties": properties}


def _no_codes(azure: Azure, data: dict[str, Any], name: str) -> Said:
    return 200, {"value": []}


def _upload(azure: Azure, data: dict[str, Any], name: str, version: str) -> Said:
    uri = f"{azure.url}/code-{version}"
    reference = {"blobUri": uri, "credential": {"credentialType": "SAS", "sasUri": f"{uri}?sig=secret&sv=2024"}}
    return 200, {"blobReferenceForConsumption": reference, "pendingUploadType": "TemporaryBlobReference"}


def _code(azure: Azure, data: dict[str, Any], name: str, version: str) -> Said:
    key = f"{name}/versions/{version}"
    azure.codes[key] = data.get("properties", azure.codes.get(key, {}))
    return 201, {"id": f"{_BASE}/codes/{key}", "name": version, "properties": azure.codes[key]}


def _environment(azure: Azure, data: dict[str, Any], name: str, version: str) -> Said:
    return 201, {"id": f"{_BASE}/environments/{name}/versions/{version}", "name": version, **data}


def _datastore(azure: Azure, data: dict[str, Any], name: str) -> Said:
    properties = {
        "datastoreType": "AzureBlob",
        "accountName": "account",
        "containerName": CONTAINER,
        "endpoint": f"localhost:{azure.port}",
        "protocol": "https",
        "isDefault": True,
        "credentials": {"credentialsType": "AccountKey"},
    }
    return 200, {"id": f"{_BASE}/datastores/{STORE}", "name": STORE, "properties": properties}


def _secrets(azure: Azure, data: dict[str, Any], name: str) -> Said:
    return 200, {"secretsType": "Sas", "sasToken": "sig=secret&sv=2024"}


def _datastores(azure: Azure, data: dict[str, Any]) -> Said:
    return 200, {"value": [_datastore(azure, data, STORE)[1]]}


def _run_data(azure: Azure, data: dict[str, Any]) -> Said:
    id = data["runId"]
    made = any(f"/{id}/made/" in name for name in azure.blobs)
    outputs = {"made": {"assetId": f"azureml://{id}", "type": "uri_folder"}} if made else {}
    return 200, {"runMetadata": {"runId": id, "outputs": outputs}}


def _uris(azure: Azure, data: dict[str, Any]) -> Said:
    path = f"azureml:/{_BASE}/datastores/{STORE}/paths/azureml/".replace("resourceGroups", "resourcegroups")
    path = path.replace("/providers/Microsoft.MachineLearningServices", "")
    return 200, {"values": {id: {"uri": f"{path}{id[10:]}/made/", "type": "uri_folder"} for id in data["values"]}}


_ROUTES: tuple[tuple[str, str, Callable[..., Said]], ...] = (
    ("/metadata/endpoints", "GET", _cloud),
    ("/token", "GET", _token),
    ("/discovery", "GET", _discovery),
    (_BASE, "GET", _workspace),
    (rf"{_BASE}/computes/([^/]+)", "GET", _compute),
    (rf"{_BASE}/codes/([^/]+)/versions", "GET", _no_codes),
    (rf"{_BASE}/codes/([^/]+)/versions/([^/]+)/startPendingUpload", "POST", _upload),
    (rf"{_BASE}/codes/([^/]+)/versions/([^/]+)", "*", _code),
    (rf"{_BASE}/environments/([^/]+)/versions/([^/]+)", "*", _environment),
    (rf"{_BASE}/jobs/([^/]+)", "PUT", Azure.submit),
    (rf"{_BASE}/jobs/([^/]+)", "GET", Azure.job),
    (rf"{_BASE}/datastores", "GET", _datastores),
    (rf"{_BASE}/datastores/([^/]+)/listSecrets", "POST", _secrets),
    (rf"{_BASE}/datastores/([^/]+)", "GET", _datastore),
    (r"/history/v1.0/.*/rundata", "POST", _run_data),
    (r"/data/v1.0/.*/dataversion/batchGetResolvedUris", "POST", _uris),
)


class _Handler(BaseHTTPRequestHandler):
    server: Azure
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {parts.path}")
        query = parse_qs(parts.query, keep_blank_values=True)
        if "sig" in query:
            status, content, headers = self.server.store_blob(self.command, parts.path, query, body)
        else:
            status, told = self.server.answer(self.command, parts.path, query, body)
            content, headers = json.dumps(told).encode(), {"Content-Type": "application/json"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def _certificate(folder: Path) -> Path:
    """A key and a certificate for localhost and its subdomains, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("account.blob.localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Azure, dict[str, str]]]:
    """The stand-in, and the environment variables by which Azure's packages find it."""
    certificate = _certificate(folder)
    azure, tokens = Azure(folder), ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    azure.socket = context.wrap_socket(azure.socket, server_side=True)
    with running(azure), running(tokens):
        tokens.answer = azure.answer  # type: ignore[attr-defined]  # Azure's managed identity asks without TLS
        tokens.asked = azure.asked  # type: ignore[attr-defined]
        yield (
            azure,
            {
                "ARM_CLOUD_METADATA_URL": f"{azure.url}/metadata/endpoints",
                "AZUREML_CURRENT_CLOUD": "Loopback",
                "REQUESTS_CA_BUNDLE": str(certificate),
                "IDENTITY_ENDPOINT": f"http://127.0.0.1:{tokens.server_address[1]}/token",
                "IDENTITY_HEADER": "secret",
            },
        )
