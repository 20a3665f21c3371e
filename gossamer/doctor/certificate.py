"""The broker's certificate: fetched without believing it, then judged, so that what is wrong with it is said."""

from __future__ import annotations

import datetime
import socket
import ssl
from dataclasses import dataclass

from gossamer.doctor.finding import Finding, fail, ok, warn
from gossamer.errors import ConfigError
from gossamer.mqtt.settings import MqttSettings
from gossamer.mqtt.sockets import tls_context

NAME = "broker tls"
SOON_DAYS = 21
"""A certificate that ends within this time is spoken of: sites are visited rarely."""
TIMEOUT_SECONDS = 10.0

# Numbers of OpenSSL's X509_V_ERR_*, which the ssl module passes on as verify_code.
_NOT_YET, _EXPIRED, _HOST, _ADDRESS = 9, 10, 62, 64


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says. Times are Unix seconds."""

    names: tuple[str, ...]
    issuer: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Shaken:
    """How the handshake went: by which version, or the error and OpenSSL's verify code of it (0: another error)."""

    version: str = ""
    error: str = ""
    code: int = 0


def check_tls(settings: MqttSettings, now: float) -> Finding:
    """Shake hands as the agent would; only when that fails, once more without believing anything, to see the reason."""
    try:
        context = tls_context(settings)
    except ConfigError as error:
        return fail(NAME, str(error), "correct ca_file, certificate_file and certificate_key_file under [broker]")
    if context is None:
        return ok(NAME, "plaintext, as configured")
    shaken, seen = _shake(settings, context)
    return judge(shaken, _presented(settings) if shaken.error else seen, settings.host, now)


def judge(shaken: Shaken, seen: Certificate | None, host: str, now: float) -> Finding:
    """Turn a handshake and the certificate it showed into an answer. Pure."""
    if not shaken.error:
        if seen is None:
            return ok(NAME, shaken.version)
        said = f"{shaken.version}; certificate of {', '.join(seen.names)}, valid until {_day(seen.not_after)}"
        days = (seen.not_after - now) / 86_400
        if days < SOON_DAYS:
            return warn(NAME, f"{said}: {days:.0f} days", "renew the broker's certificate before it ends")
        return ok(NAME, said)
    if seen is None:
        mend = "check that the port speaks TLS (8883, not 1883) and that the broker takes TLS 1.2 or later"
        return fail(NAME, f"no handshake: {shaken.error}", mend)
    if shaken.code == _EXPIRED:
        mend = "renew the broker's certificate; if that day is still to come, set this machine's clock"
        return fail(NAME, f"the broker's certificate ended {_day(seen.not_after)}", mend)
    if shaken.code == _NOT_YET:
        mend = "set this machine's clock: it is earlier than the certificate"
        return fail(NAME, f"the broker's certificate begins {_day(seen.not_before)}", mend)
    if shaken.code in (_HOST, _ADDRESS):
        names = ", ".join(seen.names) or "nobody"
        mend = "set broker.host to one of its names, or let the broker have a certificate that names it"
        return fail(NAME, f"the broker's certificate is of {names}, not of {host}", mend)
    if shaken.code:
        found = f"the broker's certificate is by {seen.issuer or 'nobody with a name'}, unknown to ca_file"
        return fail(NAME, f"{found} ({shaken.error})", "name the authority's PEM file in broker.ca_file")
    mend = "if the broker wants client certificates, set certificate_file and certificate_key_file under [broker]"
    return fail(NAME, f"the handshake failed: {shaken.error}", mend)


def parsed(der: bytes) -> Certificate:
    """Read a certificate. Raises ValueError for what is none."""
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        said = (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))
    except x509.ExtensionNotFound:
        said = ()
    utc = datetime.timezone.utc
    # cryptography 40, which old distributions have, knows only the naive form.
    begin = getattr(certificate, "not_valid_before_utc", None) or certificate.not_valid_before.replace(tzinfo=utc)
    end = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after.replace(tzinfo=utc)
    return Certificate(said, certificate.issuer.rfc4514_string(), begin.timestamp(), end.timestamp())


def _shake(settings: MqttSettings, context: ssl.SSLContext) -> tuple[Shaken, Certificate | None]:
    try:
        with (
            socket.create_connection((settings.host, settings.port), TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=settings.host) as secure,
        ):
            return Shaken(secure.version() or "TLS"), parsed(secure.getpeercert(binary_form=True) or b"")
    except ssl.SSLCertVerificationError as error:
        return Shaken(error=error.verify_message, code=error.verify_code), None
    except OSError as error:
        return Shaken(error=str(error)), None


def _presented(settings: MqttSettings) -> Certificate | None:
    """The certificate that the broker shows, unverified: it is looked at, and nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((settings.host, settings.port), TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=settings.host) as secure,
        ):
            return parsed(secure.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None


def _day(unix_seconds: float) -> str:
    return datetime.datetime.fromtimestamp(unix_seconds, datetime.timezone.utc).strftime("%Y-%m-%d")
