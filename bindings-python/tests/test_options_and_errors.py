"""Options and errors against core's manifest: nothing missing, nothing invented, misuse named."""

from __future__ import annotations

import inspect
import math
import pickle
import typing

import pytest

import dig_nat_tools as dig
from dig_nat_tools import _native, errors, options

MANIFEST = _native.manifest()


@pytest.mark.parametrize("create", [dig.FileHost, dig.FileClient, dig.NetworkManager, dig.sync.FileHost])
def test_misspelt_option_is_named(create):
    with pytest.raises(dig.DigNatInvalidArgumentError, match="^prot: ") as caught:
        create(prot=8080)
    assert isinstance(caught.value, ValueError)
    assert caught.value.number == 10


async def test_misspelt_option_of_calls_is_named(tmp_path):
    client = dig.FileClient()
    host = dig.FileHost()
    for call in (
        client.download("ab" * 32, savepath="x"),
        client.find_peers("ab" * 32, max_pears=1),
        client.file_info("ab" * 32, tiemout=1),
        host.add_file(tmp_path, contentid="x"),
        dig.download_file("ab" * 32, tiemout=1),
    ):
        with pytest.raises(dig.DigNatInvalidArgumentError, match="no such option"):
            await call


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70_000),
        ("port", -1),
        ("port", "80"),
        ("interfaces", 5),
        ("persistence_dir", b"bytes"),
        ("persistence_dir", "caf\udce9"),
        ("max_connections", math.nan),
        ("request_timeout", "soon"),
        ("request_timeout", -1.0),
        ("request_timeout", math.inf),
    ],
)
def test_bad_value_is_named(name, value):
    with pytest.raises(dig.DigNatInvalidArgumentError, match=f"^{name}"):
        dig.FileClient(**{name: value})


def test_out_of_range_is_refused():
    with pytest.raises(dig.DigNatInvalidArgumentError, match="outside 1 to 100000"):
        dig.FileClient(max_connections=0)
    with pytest.raises(dig.DigNatInvalidArgumentError, match="99 is outside 100"):
        dig.FileClient(request_timeout=0.0981)


def test_every_option_is_accepted_under_its_python_name():
    defaults = {
        table: {option["name"]: option["default"] for option in rows} for table, rows in MANIFEST["options"].items()
    }
    dig.FileHost(**defaults["NodeOptions"], **defaults["HostOptions"])
    dig.FileClient(**defaults["NodeOptions"], **defaults["ClientOptions"])
    dig.NetworkManager(**defaults["NodeOptions"], **defaults["ClientOptions"])


async def test_bad_keys_are_refused():
    client = dig.FileClient()
    for key in ("", "x" * 2000):
        with pytest.raises(dig.DigNatInvalidArgumentError, match="^key: "):
            await client.download(key)
    with pytest.raises(dig.DigNatInvalidArgumentError, match="^hash: "):
        dig.FileHost().has_file("ab")
    with pytest.raises(TypeError):
        await client.download(5)


async def test_on_progress_must_be_a_plain_function():
    async def wrong(progress):
        pass

    for callback in (wrong, 5):
        with pytest.raises(TypeError, match="on_progress"):
            await dig.download_file("ab" * 32, on_progress=callback)


def test_error_classes_are_complete():
    kinds = {f"DigNat{kind['name']}Error": kind for kind in MANIFEST["errors"]}
    assert sorted([*kinds, "DigNatError"]) == errors.__all__
    for name, kind in kinds.items():
        cls = getattr(dig, name)
        assert issubclass(cls, dig.DigNatError)
        assert (cls.code, cls.number, cls.advice) == (kind["code"], kind["number"], kind["advice"])
        assert cls.__doc__ == kind["doc"]
        assert cls.__module__ == "dig_nat_tools.errors"
        assert name in dig.__all__


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("Timeout", TimeoutError),
        ("FileNotFound", FileNotFoundError),
        ("PermissionDenied", PermissionError),
        ("InvalidArgument", ValueError),
        ("PeerUnreachable", ConnectionError),
        ("ConnectionClosed", ConnectionError),
        ("NoPeers", ConnectionError),
        ("DiskFull", OSError),
        ("AddressInUse", OSError),
        ("InvalidState", RuntimeError),
        ("ContentNotFound", LookupError),
        ("Cancelled", Exception),
    ],
)
def test_errors_are_also_the_built_in_ones(name, builtin):
    assert issubclass(getattr(dig, f"DigNat{name}Error"), builtin)


def test_errors_can_be_pickled_and_carry_advice():
    with pytest.raises(dig.DigNatInvalidArgumentError) as caught:
        dig.FileHost(prot=1)
    assert caught.value.__notes__ == [f"advice: {caught.value.advice}"]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is dig.DigNatInvalidArgumentError and str(copy) == str(caught.value)


def test_every_operation_of_core_is_there():
    renamed = {"subscribe": "events"}
    for package in (dig, dig.sync):
        for operation in MANIFEST["operations"]:
            holder, _, name = operation.rpartition(".")
            holder = getattr(package, holder) if holder else package
            assert hasattr(holder, renamed.get(name, name)), operation


def test_blocking_and_asyncio_packages_have_the_same_names():
    assert dig.aio.__all__ == dig.sync.__all__
    only_blocking = {"timeout"}  # asyncio has its own
    differing = {"__aiter__", "__anext__", "__aenter__", "__aexit__", "__await__", "__iter__", "__next__"}
    differing |= {"__enter__", "__exit__", "next", "close", "aclose"}
    for name in dig.sync.__all__:
        ours, theirs = getattr(dig.aio, name), getattr(dig.sync, name)
        members = {"": (ours, theirs)}
        if inspect.isclass(ours):
            public = {key for key in dir(ours) + dir(theirs) if not key.startswith("_")} - differing
            members = {key: (getattr(ours, key), getattr(theirs, key)) for key in public}
        for key, (one, two) in members.items():
            if isinstance(one, property):
                assert isinstance(two, property), f"{name}.{key}"
                continue
            if not inspect.isfunction(one):
                continue
            assert one.__doc__, f"{name}.{key} is not documented"
            left = list(inspect.signature(one).parameters)
            right = [name for name in inspect.signature(two).parameters if name in left or name not in only_blocking]
            assert left == right, f"{name}.{key}"


def test_keywords_file_is_up_to_date():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).resolve().parent.parent / "scripts" / "generate_options.py"
    spec = importlib.util.spec_from_file_location("generate_options", path)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    committed = Path(options.__file__).read_text(encoding="utf-8")
    assert committed == generator.generate(), "run scripts/generate_options.py"


def test_annotations_can_be_resolved():
    for name in dig.records.__all__:
        assert typing.get_type_hints(getattr(dig, name))


def test_version_is_the_engine_s():
    assert dig.__version__ == MANIFEST["version"]
