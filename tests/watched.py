"""The ``gangue`` command under watch: what it connects to and whose pickles it loads.

Usage: python tests/watched.py FOUND.json mine [--params FILE] ...      (under ``unshare -rn``: without a network)
"""

import collections
import json
import pathlib
import sys

LOOPBACK = ("127.", "::1", "localhost")
PICKLERS = ("pickle", "_pickle", "cloudpickle", "dill")


def network():
    """Packets of this network namespace that had no way out: also those of C and Rust code."""
    rows = [line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    sixth = dict(line.split() for line in pathlib.Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(*rows, strict=True))["OutNoRoutes"]) + int(sixth["Ip6OutNoRoutes"])


def outward(event, arguments):
    """The address, where the event asks for one that is not this machine's."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a path: a Unix socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0] or ""
    else:
        return None
    host = host.decode() if isinstance(host, bytes) else str(host)
    return host if host and not host.startswith(LOOPBACK) else None


def caller():
    """The package that asks for a pickle to be loaded: the nearest frame that is no pickler's own."""
    frame = sys._getframe(2)
    while frame and frame.f_globals.get("__name__", "").split(".")[0] in PICKLERS:
        frame = frame.f_back
    return frame.f_globals["__name__"].split(".")[0] if frame else "?"


def main():
    found, addresses, pickles = pathlib.Path(sys.argv.pop(1)), [], collections.Counter()

    def hook(event, arguments):
        if event == "pickle.find_class":
            pickles[caller()] += 1
        elif event.startswith("socket.") and (address := outward(event, arguments)):
            addresses.append(address)

    sys.addaudithook(hook)
    before = network()
    from gangue.pipeline.command import cli

    try:
        cli.main()
    finally:
        note = {"addresses": addresses, "lost": network() - before, "pickles": pickles}
        found.write_text(json.dumps(note))


if __name__ == "__main__":
    main()
