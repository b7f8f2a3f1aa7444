"""Certificates for the TLS tests, made by trustme; P-256 keys, as a small chip wants them."""

from __future__ import annotations

import datetime
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

LOOPBACK = "127.0.0.1"


def write(ca: trustme.CA, folder: Path, name: str, *identities: str, days: int = 2) -> None:
    """`name`.crt and `name`.key in `folder`, signed by `ca` for these hosts and addresses, valid
    from yesterday for `days` days (0: it has expired, negative: not valid yet)."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    first = now + day if days < 0 else now - 2 * day
    last = now + 2 * day if days < 0 else now - day if days == 0 else now + days * day
    issued = ca.issue_cert(*identities, not_before=first, not_after=last)
    (folder / f"{name}.crt").write_bytes(issued.cert_chain_pems[0].bytes())
    (folder / f"{name}.key").write_bytes(issued.private_key_pem.bytes())


def to_der(folder: Path, name: str) -> None:
    """`name`.crt.der and, if there is a key, `name`.key.der: what stock images can read."""
    path = folder / f"{name}.crt"
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    der = serialization.Encoding.DER
    (folder / f"{name}.crt.der").write_bytes(certificate.public_bytes(der))
    path = folder / f"{name}.key"
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        data = key.private_bytes(
            der, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        (folder / f"{name}.key.der").write_bytes(data)


def make(folder: Path) -> Path:
    """`ca`, `stranger` (another authority), `server` for broker.test and 127.0.0.1, `client`,
    and servers `expired` and `future`; each but the authorities in PEM and DER."""
    folder.mkdir(parents=True, exist_ok=True)
    authorities = {name: trustme.CA(key_type=trustme.KeyType.ECDSA) for name in ("ca", "stranger")}
    for name, authority in authorities.items():
        authority.cert_pem.write_to_path(str(folder / f"{name}.crt"))
        to_der(folder, name)
    ca = authorities["ca"]
    write(ca, folder, "server", "broker.test", LOOPBACK)
    write(ca, folder, "named", "broker.test")
    write(ca, folder, "client", "dut.test")
    write(authorities["stranger"], folder, "forged", "dut.test")
    write(ca, folder, "expired", "broker.test", days=0)
    write(ca, folder, "future", "broker.test", days=-1)
    for name in ("server", "client"):
        to_der(folder, name)
    return folder
