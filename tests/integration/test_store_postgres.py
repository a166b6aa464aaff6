"""The store on a real PostgreSQL server: the same contract, and what many workers and hosts need on top."""

# ruff: noqa: PT012  # an exception leaves a transaction at its end, so its block is what raises

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import settings

from fcflow.errors import StoreBusyError, StoreError, StoreVersionError
from fcflow.store import Store, schema
from fcflow.store.engines import open_engine, parse_url
from fcflow.store.tables import SCHEMA_VERSION, build_tables
from fcflow.testing.partners import World, order
from fcflow.testing.stores import StoreContract, an_event, an_order, store_machine

pytestmark = pytest.mark.real_server


# ------------------------------------------------------------------ a server of our own


def _binaries() -> Path | None:
    on_path = shutil.which("pg_ctl")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda each: int(each.parts[-3]))
    return found[-1].parent if found else None


def _as_ordinary_user() -> list[str]:
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    return [] if os.getuid() != 0 else ["runuser", "-u", "postgres", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that lives as long as this module's tests, in a folder of its own."""
    binaries = _binaries()
    if binaries is None:
        if os.environ.get("FCFLOW_REQUIRE_SERVERS") == "1":
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed")
    folder, port, user = Path(tempfile.mkdtemp(prefix="fcflow-pg-")), _free_port(), _as_ordinary_user()
    folder.chmod(0o700)
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data, quiet = str(folder / "data"), {"check": True, "capture_output": True, "cwd": "/"}
    made = ["-A", "trust", "-U", "fcflow", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run([*user, str(binaries / "initdb"), "-D", data, *made], **quiet)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    control = [*user, str(binaries / "pg_ctl"), "-D", data, "-w", "-s"]
    subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], **quiet)
    try:
        yield f"postgresql://fcflow@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


@pytest.fixture
def url(server: str) -> str:
    """Short waits: a test that is to find the store busy does not take half a minute."""
    return f"{server}?timeout=0.3"


@pytest.fixture
def place() -> str:
    """A schema of its own for each test."""
    return f"shop_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def open_store(url: str, place: str) -> Callable[..., Store]:
    return lambda **options: Store.open(url, **{"schema": place, **options})


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Iterator[Store]:
    with open_store() as store:
        yield store


class TestPostgres(StoreContract):
    """Every promise of the store, on PostgreSQL."""


def test_histories_of_two_tenants_match_plain_dictionaries(url: str) -> None:
    """
    Long random histories leave in the database what a dictionary would hold.
    """

    def open_one(stack: ExitStack, namespace: str) -> Store:
        if not hasattr(stack, "place"):
            stack.place = f"shop_{uuid.uuid4().hex[:12]}"  # type: ignore[attr-defined]
        return stack.enter_context(Store.open(url, namespace=namespace, schema=stack.place))  # type: ignore[attr-defined]

    case = store_machine(open_one).TestCase
    case.settings = settings(max_examples=6, stateful_step_count=8, deadline=None)
    case("runTest").debug()


# ------------------------------------------------------------------ tables


def test_migrating_from_nothing_makes_the_tables_that_are_created_at_once(server: str, place: str) -> None:
    """
    Both ways to a new store end at the same tables, in a schema of their own.
    """
    engine = open_engine(*parse_url(server))
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(place))
        schema._migrate(connection, place)
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": schema.VERSION_TABLE,
                "version_table_schema": place,
                "include_schemas": True,
                "include_name": lambda name, kind, parents: kind != "schema" or name == place,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, build_tables(place)) == []
    engine.dispose()
    with Store.open(server, schema=place) as store, store.transaction() as tx:
        tx.insert_orders([an_order()])


def test_the_printed_statements_make_a_store(server: str, place: str) -> None:
    """
    What an administrator ran by hand is opened without any change.
    """
    engine = open_engine(*parse_url(server))
    with engine.begin() as connection:
        connection.exec_driver_sql(Store.ddl(server, schema=place))
    with Store.open(server, schema=place) as store, store.transaction() as tx:
        tx.insert_orders([an_order()])
    engine.dispose()


def test_an_older_store_is_migrated_on_command_only(
    url: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Opening says which command to run; the command brings the tables up to date and keeps what is in them.
    """
    with Store.open(url, schema=place) as store, store.transaction() as tx:
        tx.insert_orders([an_order()])
    migrations = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / "v9999_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '9999', {SCHEMA_VERSION!r}\n"
        "def upgrade():\n"
        "    schema = op.get_context().opts['fcflow_schema']\n"
        "    op.add_column('fcflow_order', sa.Column('colour', sa.Text()), schema=schema)\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", "9999")
    with pytest.raises(StoreVersionError, match="expected 9999: run fcflow store migrate"):
        Store.open(url, schema=place)
    assert Store.migrate(url, schema=place) == "9999"
    with Store.open(url, schema=place) as store, store.reading() as tx:
        assert tx.order_ids() == ["A1"]


_OPEN = """
import sys
from fcflow.store import Store
with Store.open(sys.argv[1], schema=sys.argv[2]) as store, store.transaction() as tx:
    tx.counter("x")
"""


def test_several_processes_may_open_a_new_store_at_once(server: str, place: str) -> None:
    """
    One creates the tables, the others wait and find them.
    """
    command = [sys.executable, "-c", _OPEN, server, place]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        _, said = child.communicate(timeout=60)
        assert (child.returncode, said) == (0, "")
    with Store.open(server, schema=place) as store, store.transaction() as tx:
        assert tx.counter("x") == 4


# ------------------------------------------------------------------ many workers


def _at_once(work: Callable[[int], None], count: int = 4) -> None:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001  # shown below, where the test sees it
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_update_of_one_worker_is_lost_to_another(server: str, place: str) -> None:
    """
    Four workers read, change and write the same order and counter; every change is there at the end.
    """
    with Store.open(server, schema=place) as store:
        with store.transaction() as tx:
            tx.insert_orders([an_order(reason="")])

        def work(number: int) -> None:
            for _ in range(15):
                with store.transaction() as tx:
                    view = tx.order("A1")
                    assert view is not None
                    tx.update_orders([an_order(reason=(view.stored.reason or "") + "x")])
                    tx.counter("n")

        _at_once(work)
        with store.transaction() as tx:
            view = tx.order("A1")
            assert view is not None
            assert view.stored.reason == "x" * 60
            assert tx.counter("n") == 61


def test_a_feed_misses_no_event_of_concurrent_writers(server: str, place: str) -> None:
    """
    Numbers become visible in their order: a consumer who goes on behind the last one that it saw sees all.
    """
    with Store.open(server, schema=place) as store:
        seen: list[int] = []
        done = threading.Event()

        def read() -> None:
            while True:
                last_look = done.is_set()
                with store.reading() as tx:
                    seen.extend(event.sequence for event in tx.audit(after=seen[-1] if seen else 0))
                if last_look:
                    return

        def work(number: int) -> None:
            if number == 0:
                read()
                return
            for turn in range(20):
                with store.transaction() as tx:
                    tx.append([an_event(f"{number}.{turn}.{part}") for part in range(3)])
            with lock:
                left.discard(number)
                if not left:
                    done.set()

        lock, left = threading.Lock(), {1, 2, 3}
        _at_once(work)
        with store.reading() as tx:
            assert seen == [event.sequence for event in tx.audit()]
        assert len(seen) == 180


def test_who_waits_too_long_for_another_writer_is_told_that_it_is_busy(open_store: Callable[..., Store]) -> None:
    """
    The transient error after the URL's timeout; other tenants and readers are not held up.
    """
    with open_store() as first, open_store() as second, open_store(namespace="other") as tenant:
        with first.transaction() as tx:
            tx.insert_orders([an_order()])
            with pytest.raises(StoreBusyError), second.transaction():
                pass
            with second.reading() as reader:
                assert reader.order_ids() == []
            with tenant.transaction() as other:
                other.insert_orders([an_order()])
        with second.transaction() as tx:
            assert tx.order_ids() == ["A1"]


def test_reading_sees_one_picture_while_others_write(open_store: Callable[..., Store]) -> None:
    """
    What is committed after a reading began is not in it.
    """
    with open_store() as store, store.reading() as before:
        assert before.order_ids() == []
        with store.transaction() as tx:
            tx.insert_orders([an_order()])
        assert before.order_ids() == []


def test_a_cut_connection_takes_back_its_transaction(store: Store, server: str) -> None:
    """
    The server ends the session in the middle: a `StoreError`, nothing written, and the next transaction succeeds.
    """
    killer = sa.create_engine(parse_url(server)[0])
    with pytest.raises(StoreError), store.transaction() as tx:
        tx.insert_orders([an_order()])
        mine = tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with killer.connect() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
        tx.append([an_event()])
    killer.dispose()
    with store.transaction() as tx:
        assert tx.order_ids() == []


# ------------------------------------------------------------------ hosts


@pytest.fixture
def host(server: str, store: Store, place: str) -> Iterator[sa.Engine]:
    """A host with a table of its own in the same database."""
    engine = sa.create_engine(parse_url(server)[0])
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {place}.shop (name text)"))
    yield engine
    engine.dispose()


def test_the_hosts_transaction_carries_ours(host: sa.Engine, store: Store, place: str) -> None:
    """
    Rows of both sides come and go together, by the host's commit or rollback.
    """
    for outcome in ("rollback", "commit"):
        with host.connect() as connection:
            connection.execute(sa.text(f"INSERT INTO {place}.shop VALUES ('mine')"))
            with store.lease("leeds") as lease, store.transaction(connection=connection, lease=lease) as tx:
                tx.insert_orders([an_order()])
                tx.append([an_event()])
                tx.acknowledge("shop", 1)
                getattr(connection, outcome)()
        expected = 1 if outcome == "commit" else 0
        with host.connect() as connection, store.reading(connection=connection) as tx:
            assert connection.execute(sa.text(f"SELECT count(*) FROM {place}.shop")).scalar_one() == expected
            assert (len(tx.order_ids()), len(tx.audit()), tx.consumer_position("shop")) == (expected,) * 3


def test_the_host_keeps_its_own_settings(host: sa.Engine, store: Store) -> None:
    """
    How long the host waits for locks is as it was before our turn was taken.
    """
    with host.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '7s'")
        with store.transaction(connection=connection) as tx:
            tx.counter("x")
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "7s"


def test_a_connection_without_transactions_is_refused(host: sa.Engine, store: Store) -> None:
    """
    What cannot be taken back together is not begun.
    """
    careless = host.execution_options(isolation_level="AUTOCOMMIT")
    with (
        careless.connect() as connection,
        pytest.raises(StoreError, match="commits after each statement"),
        store.transaction(connection=connection),
    ):
        pass


def test_a_host_and_a_worker_take_turns(host: sa.Engine, store: Store) -> None:
    """
    While the host's transaction is open a worker is busy, not lost.
    """
    with host.begin() as connection:
        with store.transaction(connection=connection) as tx:
            tx.counter("x")
        with pytest.raises(StoreBusyError), store.transaction():
            pass
    with store.transaction() as tx:
        assert tx.counter("x") == 2


def test_the_main_job_runs_on_postgresql(open_store: Callable[..., Store]) -> None:
    """
    Orders are allocated, sent, partly shipped, cancelled and allocated anew; a plan changes nothing.
    """
    with World("leeds", "corby", store=open_store, tracked=True) as world:
        world.partners["leeds"].stock({"MUG": 5})
        world.partners["corby"].stock({"MUG": 5})
        world.sync.add_orders([order("A1", MUG=2), order("A2", MUG=1)])
        planned = world.sync.plan()
        assert [delivery.fulfilment_ids for delivery in planned.deliveries] == [("A1", "A2")]
        assert world.state("A1") == "open"
        assert world.run().partners["leeds"].sent == ["A1", "A2"]

        world.partners["leeds"].say("SHIPPED", "A1", sku="MUG", shipped=1, cancelled=1, tracking="T1")
        world.partners["leeds"].say("CANCELLED", "A2")
        report = world.run()
        assert report.ok, str(report)
        assert world.states("A1") == {"A1": "shipped", "A1-2": "sent"}
        assert world.states("A2") == {"A2": "cancelled", "A2-2": "sent"}
        world.partners["corby"].say("SHIPPED", "A1-2", "A2-2")
        world.run()
        assert (world.state("A1"), world.state("A2")) == ("closed", "closed")
