"""
Files to and from real servers on this machine, each beside the best raw client of its kind in the same run.

vsftpd, OpenSSH (both need root) and nginx serve; the peers are ftplib, pycurl (``pip install --group bench``), the
OpenSSH program ``sftp`` and requests. Ours does more: a temporary name, sizes compared before and after a rename.
"""

from __future__ import annotations

import argparse
import contextlib
import ftplib
import io
import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count as count_from
from pathlib import Path
from typing import Any

from _measure import show_head, spread, table  # type: ignore[import-not-found]

from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.faults import FaultProxy
from fcflow.testing.servers import RunningServer
from fcflow.transports import ftp, http, sftp
from fcflow.transports.base import Delivery, Endpoint, Query, Transport

SEED = 20260302
SMALL = bytes(random.Random(SEED).randrange(256) for _ in range(1_000))
Job = Callable[[str], None]
_FOLDERS = count_from(1)

# ------------------------------------------------------------------ ours


def transport_to(build: Any, server: RunningServer, port: int | None = None, host: str = "127.0.0.1") -> Transport:
    options: dict[str, Any] = {}
    if server.certificate is not None:
        options = {"ca_file": str(server.certificate.ca), "server_name": "localhost"}
    if server.host_key is not None:
        options = {"host_key": server.host_key}
    url = f"{server.scheme}://{server.user}@{host}:{port or server.port}{server.base}"
    connection = Connection(url=url, secrets={"password": {"env": "it"}}, options=options)
    limits = PartnerLimits(max_bytes=2**30, timeout_s=300)
    return build(Endpoint(partner="bench", connection=connection, limits=limits, resolve=lambda it: server.password))


def delivery(folder: str, number: int, content: bytes = SMALL) -> Delivery:
    feed = Feed(kind="orders", partner="bench", layout="canonical", path=folder)
    return Delivery(key=f"{folder}-{number}", feed=feed, name=f"f{number}.csv", content=content)


def sends(transports: Sequence[Transport], folder: str, count: int) -> None:
    """*count* files, shared out over the transports."""

    def share(place: int) -> None:
        for number in range(place, count, len(transports)):
            transports[place].send(delivery(folder, number))

    with ThreadPoolExecutor(len(transports)) as pool:
        list(pool.map(share, range(len(transports))))


def takes(transport: Transport, folder: str, count: int) -> None:
    feed = Feed(kind="status", partner="bench", layout="canonical", path=folder, after="leave")
    offers = list(transport.list(feed, Query()))
    assert len(offers) == count, (len(offers), count)
    for offer in offers:
        transport.fetch(offer, io.BytesIO())


# ------------------------------------------------------------------ the peers


def bare_ftp(server: RunningServer) -> ftplib.FTP:
    client = ftplib.FTP(timeout=60)
    client.connect("127.0.0.1", server.port)
    client.login(server.user, server.password)
    return client


def ftplib_puts(client: ftplib.FTP, folder: str, count: int) -> None:
    for number in range(count):
        client.storbinary(f"STOR {folder}/f{number}.csv", io.BytesIO(SMALL), 256 * 1024)


def ftplib_gets(client: ftplib.FTP, folder: str) -> None:
    for name in client.nlst(folder):
        client.retrbinary(f"RETR {name}", lambda block: None, 256 * 1024)


def curl_puts(server: RunningServer, folder: str, count: int) -> None:
    import pycurl  # type: ignore[import-not-found]

    assert server.certificate is not None
    curl = pycurl.Curl()
    settings = {
        pycurl.USERPWD: f"{server.user}:{server.password}",
        pycurl.USE_SSL: pycurl.USESSL_ALL,
        pycurl.CAINFO: str(server.certificate.ca),
        pycurl.UPLOAD: 1,
        pycurl.INFILESIZE: len(SMALL),
    }
    for option, value in settings.items():
        curl.setopt(option, value)
    for number in range(count):
        curl.setopt(pycurl.URL, f"ftp://localhost:{server.port}/{folder}/f{number}.csv")
        curl.setopt(pycurl.READDATA, io.BytesIO(SMALL))
        curl.perform()
    curl.close()


def sftp_program(server: RunningServer, scratch: Path, commands: Sequence[str]) -> None:
    """One batch of the OpenSSH program, with its start."""
    known = scratch / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    batch = scratch / "batch"
    batch.write_text("\n".join(commands) + "\n")
    options = ["-oStrictHostKeyChecking=yes", f"-oUserKnownHostsFile={known}", f"-oIdentityFile={server.user_key}"]
    command = [
        "sftp",
        "-q",
        "-b",
        str(batch),
        "-P",
        str(server.port),
        *options,
        f"{server.user}@127.0.0.1:{server.base}",
    ]
    subprocess.run(command, check=True, capture_output=True)  # the program of this machine


# ------------------------------------------------------------------ the run


def measured(jobs: Mapping[str, Job], times: int, fresh: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds by job, round by round in another order; every job gets a folder of its own."""
    chance, taken = random.Random(SEED), {name: list[float]() for name in jobs}
    for _ in range(times):
        for name in chance.sample(list(jobs), len(jobs)):
            folder = f"{next(_FOLDERS)}"
            fresh(folder)
            began = time.perf_counter()
            jobs[name](folder)
            taken[name].append(time.perf_counter() - began)
    return taken


def show(what: str, taken: Mapping[str, list[float]], asked: Mapping[str, str]) -> None:
    base = taken[next(iter(taken))]
    lines = []
    for name, seconds in taken.items():
        ratios = [each / bare for each, bare in zip(seconds, base, strict=True)]
        lines.append([name, spread(seconds, digits=3), spread(ratios, digits=2), asked.get(name, "")])
    print()
    print(table([what, "seconds", "beside the first", "asked"], lines), flush=True)


def bench_ftp(scratch: Path, user: Any, count: int, big: bytes, times: int) -> None:
    with servers.vsftpd(scratch, user) as server, contextlib.ExitStack() as stack:
        ours = [transport_to(ftp.build, server) for _ in range(4)]
        for each in ours:
            stack.callback(each.close)
        client = stack.enter_context(bare_ftp(server))
        up: dict[str, Job] = {
            "ftplib STOR": lambda folder: ftplib_puts(client, folder, count),
            "send": lambda folder: sends(ours[:1], folder, count),
            "send, four connections": lambda folder: sends(ours, folder, count),
        }
        show(
            f"FTP, vsftpd: {count} files up",
            measured(up, times, server.folder),
            {"send": "1.3", "send, four connections": "0.8"},
        )
        server.folder("down")
        ftplib_puts(client, "down", count)
        down: dict[str, Job] = {
            "ftplib NLST, RETR": lambda folder: ftplib_gets(client, "down"),
            "list, fetch": lambda folder: takes(ours[0], "down", count),
        }
        show(f"FTP, vsftpd: {count} files down", measured(down, times, server.folder), {})
        one: dict[str, Job] = {
            "ftplib STOR": lambda folder: client.storbinary(f"STOR {folder}/big", io.BytesIO(big), 256 * 1024) and None,
            "send": lambda folder: ours[0].send(delivery(folder, 1, big)) and None,
        }
        show(f"FTP, vsftpd: one file of {len(big) >> 20} MiB up", measured(one, times, server.folder), {"send": "1.2"})


def bench_ftps(scratch: Path, user: Any, count: int, times: int) -> None:
    identity = servers.certificate(scratch, "localhost", "127.0.0.1")
    with servers.vsftpd(scratch, user, identity=identity) as server:
        ours = transport_to(ftp.build, server)
        jobs: dict[str, Job] = {
            "pycurl": lambda folder: curl_puts(server, folder, count),
            "send": lambda folder: sends([ours], folder, count),
        }
        show(f"FTPS, vsftpd: {count} files up", measured(jobs, times, server.folder), {"send": "1.1"})
        ours.close()


def bench_sftp(scratch: Path, user: Any, count: int, big: bytes, times: int) -> None:
    local = scratch / "local"
    local.mkdir()
    for number in range(count):
        (local / f"f{number}.csv").write_bytes(SMALL)
    (scratch / "big").write_bytes(big)
    with servers.openssh(scratch, user) as server:
        ours = transport_to(sftp.build, server)
        lanes = siblings(ours, 4)
        up: dict[str, Job] = {
            "OpenSSH sftp": lambda folder: sftp_program(
                server, scratch, [f"put {local}/f{number}.csv {folder}/f{number}.csv" for number in range(count)]
            ),
            "send": lambda folder: sends([ours], folder, count),
            "send, four channels": lambda folder: sends(lanes, folder, count),
        }
        show(f"SFTP, OpenSSH: {count} files up", measured(up, times, server.folder), {"send": "1.3"})
        server.folder("down")
        sends([ours], "down", count)
        (scratch / "got").mkdir()
        down: dict[str, Job] = {
            "OpenSSH sftp": lambda folder: sftp_program(
                server, scratch, [f"get down/f{number}.csv {scratch}/got/" for number in range(count)]
            ),
            "list, fetch": lambda folder: takes(ours, "down", count),
        }
        show(f"SFTP, OpenSSH: {count} files down", measured(down, times, server.folder), {"list, fetch": "1.3"})
        one: dict[str, Job] = {
            "paramiko put": lambda folder: paramiko_put(server, scratch / "big", folder),
            "send": lambda folder: ours.send(delivery(folder, 1, big)) and None,
        }
        show(
            f"SFTP, OpenSSH: one file of {len(big) >> 20} MiB up", measured(one, times, server.folder), {"send": "1.2"}
        )
        far(server, max(count // 20, 16))
        for each in lanes:
            each.close()


def paramiko_put(server: RunningServer, path: Path, folder: str) -> None:
    import paramiko

    with paramiko.Transport(("127.0.0.1", server.port)) as transport:
        transport.connect(username=server.user, password=server.password)
        client = paramiko.SFTPClient.from_transport(transport)
        assert client is not None
        client.put(str(path), f"{server.base}{folder}/big")


def siblings(transport: Any, count: int) -> list[Transport]:
    """So many channels of one connection."""
    return [transport, *(transport.sibling() for _ in range(count - 1))]


def far(server: RunningServer, count: int) -> None:
    """Round trips a file, at 20 ms each."""
    rows = []
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        proxy.control.latency_s = 0.01
        for lanes in (1, 4, 8):
            ours = siblings(transport_to(sftp.build, server, proxy.port), lanes)
            folder = f"far{lanes}"
            server.folder(folder)
            for number, each in enumerate(ours):
                each.send(delivery(folder, 10**6 + number))
            began = time.perf_counter()
            sends(ours, folder, count)
            took = time.perf_counter() - began
            for each in ours:
                each.close()
            rows.append([f"send, {lanes} at once", f"{took / count / 0.02:.1f}", "2"])
    print()
    print(table(["SFTP at 20 ms a round trip", "round trips a file", "asked"], rows), flush=True)


def bench_http(scratch: Path, count: int, times: int) -> None:
    """nginx takes the posts; at a distance of 20 ms too, as that is what several at once are for."""
    import requests

    with servers.nginx(scratch / "nginx", 'location / { return 200 "OK"; }', "keepalive_requests 1000000;") as server:
        for latency_s in (0.0, 0.02):
            with FaultProxy(("127.0.0.1", server.port)) as proxy:
                proxy.control.latency_s = latency_s / 2
                url = f"http://127.0.0.1:{proxy.port if latency_s else server.port}"
                endpoint = Endpoint(partner="bench", connection=Connection(url=url), resolve=lambda it: "")
                ours = [http.build(endpoint) for _ in range(8)]
                session = requests.Session()
                wanted = count if not latency_s else max(count // 10, 40)

                def posts(folder: str, url: str = url, session: Any = session, wanted: int = wanted) -> None:
                    for _ in range(wanted):
                        session.post(f"{url}/{folder}", data=SMALL, timeout=30).raise_for_status()

                def lanes(number: int, ours: Any = ours, wanted: int = wanted) -> Job:
                    return lambda folder: sends(ours[:number], folder, wanted)

                jobs: dict[str, Job] = {"requests session": posts, "send": lanes(1), "send, eight at once": lanes(8)}
                asked = {"send": "1.3", "send, eight at once": "0.3"}
                far_off = f", {latency_s * 1000:.0f} ms a round trip" if latency_s else ""
                show(f"HTTP, nginx: {wanted} posts{far_off}", measured(jobs, times, lambda folder: None), asked)
                for each in ours:
                    each.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and rough")
    quick = parser.parse_args().quick
    count, size, times = (100, 20, 3) if quick else (1_000, 200, 5)
    show_head("fcflow", "paramiko", "pycurl", "requests")
    print(f"{times} rounds in random order, wall time, median (least-greatest)")
    big = random.Random(SEED).randbytes(size << 20)
    with servers.system_user() as user, contextlib.ExitStack() as stack:
        for bench, given in ((bench_ftp, (count, big)), (bench_ftps, (count,)), (bench_sftp, (count, big))):
            scratch = stack.enter_context(servers.scratch())
            bench(scratch, user, *given, times)  # type: ignore[operator]  # each takes its own
        bench_http(stack.enter_context(servers.scratch()), count, times)


if __name__ == "__main__":
    main()
