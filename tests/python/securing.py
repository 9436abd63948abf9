"""securing CERTIFICATE KEY CERTIFICATES: serves NTS, and has authenticated time from itself."""

import sys

import ntpclock


def securing(certificate: str, key: str, certificates: str) -> str:
    with ntpclock.Server("127.0.0.1:0", local=(3, 2_000_000), nts=(certificate, key), nts_port=0) as server:
        entry = f"{server.key_exchange_addresses[0]} nts"
        answer = ntpclock.query(entry, 10, trusted_certificates=certificates, platform_trust=False)
        told = server.statistics()
    try:
        ntpclock.Server("127.0.0.1:0", local=(3, 2_000_000), nts_cookie_keys="/x")
    except ntpclock.ConfigError:
        pass
    else:
        raise SystemExit("keys without a certificate were taken")
    return f"{'authenticated' if answer.authenticated else 'not authenticated'}, {told.key_exchanges} key exchange"


if __name__ == "__main__":
    print(securing(*sys.argv[1:]))
