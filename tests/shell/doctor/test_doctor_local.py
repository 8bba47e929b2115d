"""`ioncc doctor` on this machine: settings, packages, limits, files. No broker is needed."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import pytest

from ion.testing.servers.private import free_port
from tests.shell.doctoring import run

AWAY = f"amqp://guest:guest@127.0.0.1:{free_port()}/"


@pytest.fixture
def look(ioncc):
    """Run the doctor; return all but what is wrong with the broker, which is away."""

    def looked(*words):
        seen = run(ioncc, "-b", AWAY, *words)
        assert "broker-refused" in seen.codes  # no other fault hides it
        seen.findings = [each for each in seen.findings if each["code"] != "broker-refused"]
        return seen

    return looked


def test_a_sound_machine(look):
    assert look().codes == []


def test_a_file_with_what_is_no_setting(look, ioncc):
    (ioncc.folder / "ionlocal.yml").write_text(
        "mesaging:\n  rpc_timeout: 3\nprocess:\n  mailbox: many\nlogging:\n  level: DEBUG\n"
    )
    seen = look()
    messages = [each["message"] for each in seen.findings]
    assert seen.codes == ["configuration"]
    assert any(
        m.startswith("ionlocal.yml:1: mesaging: unknown key (did you mean") for m in messages
    )
    assert any(m.startswith("ionlocal.yml:4: process.mailbox: ") for m in messages)


def test_a_file_that_is_no_yaml(look, ioncc):
    (ioncc.folder / "ionlocal.yml").write_text("broker: [\n")
    assert look().one("configuration")[0].startswith("ionlocal.yml:")


def test_a_wrong_option_hides_nothing(look):
    assert (
        "messaging.rpc_timeout"
        in look("--set", "messaging.rpc_timeout=never").one("configuration")[0]
    )


def test_a_variable_hides_a_file(look, ioncc):
    (ioncc.folder / "ionlocal.yml").write_text("container:\n  sysname: lab\n")
    ioncc.env["ION_SYSNAME"] = "home"
    message, remedy = look().one("setting-overridden")
    assert message == (
        'container.sysname is "home" by environment ION_SYSNAME, over "lab" from ionlocal.yml:2'
    )
    assert remedy == "unset ION_SYSNAME"
    ioncc.env["ION_SYSNAME"] = "lab"  # says the same
    assert look().codes == []


def test_a_variable_that_means_nothing(look, ioncc):
    ioncc.env["ION_BROKR"] = "amqp://localhost/"
    assert look().one("unknown-variable")[1] == "unset ION_BROKR"


def test_each_shell_its_own_bus(ioncc):
    message, remedy = run(ioncc).one("private-bus")
    assert "memory:// (from default)" in message
    assert "ION_BROKER=" in remedy
    ioncc.env["ION_BROKER"] = "memory://"
    assert "(from environment ION_BROKER)" in run(ioncc).one("private-bus")[0]


def test_the_bus_that_listens_is_looked_at(ioncc):
    serving = ioncc.serve("-n", "--listen", "hello")
    serving.ready()
    seen = run(ioncc)
    assert seen.codes == []
    assert seen.unchecked == {}
    assert run(ioncc, "-b", "local://").codes == []
    done = ioncc.run("doctor")
    assert not done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("system ion on memory:// (from default): ION ")
    assert said[0].endswith(", 1 container")
    assert said[-1].endswith(" 0 errors, 0 warnings, 0 not checked")


# Python and packages


def metadata(ioncc, name, version, *lines):
    """Let a package appear installed so, for what runs in the folder."""
    folder = ioncc.folder / f"{name}-{version}.dist-info"
    folder.mkdir()
    text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    (folder / "METADATA").write_text(text + "\n")


def test_a_package_that_is_too_old(look, ioncc):
    metadata(ioncc, "aiormq", "6.8.1")
    message, remedy = look().one("dependency")
    assert message.startswith("aiormq is 6.8.1; ION needs ")
    assert remedy.startswith("pip install 'aiormq")


def test_python_that_is_too_old_and_a_package_that_is_missing(look, ioncc):
    needs = ["Requires-Python: >=3.99", "Requires-Dist: nowhere-to-be-found>=1"]
    needs.append("Requires-Dist: only-for-others>=1; extra == 'other'")
    metadata(ioncc, "ioncore", "9.9.9", *needs)
    seen = look()
    assert "ION needs >=3.99" in seen.one("python")[0]
    assert seen.one("dependency")[1] == "pip install 'nowhere-to-be-found>=1'"


# limits and files


def test_few_file_descriptors(ioncc):
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))

    words = [*ioncc.command, "doctor", "--json", "-b", AWAY]
    done = subprocess.run(
        words,
        cwd=ioncc.folder,
        env=ioncc.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lower,
    )
    (found,) = [f for f in json.loads(done.stdout)["findings"] if f["code"] == "file-descriptors"]
    assert "256 files" in found["message"]
    assert found["remedy"] == "ulimit -n 4096"


def test_the_data_folder_is_none(look, ioncc):
    (ioncc.folder / "data").write_text("a file")
    assert f"{ioncc.folder / 'data'}: Not a directory" in look().one("data-folder")[0]


def test_the_data_folder_cannot_be_written_to(look, ioncc):
    ioncc.env["XDG_DATA_HOME"] = "/proc/data"  # where nobody can, root neither
    assert look().one("data-folder")[0].startswith("nothing can be kept at /proc/data/ion/ion.db")


def test_a_nearly_full_disk(look, ioncc):
    """A store as large as that needs more room than there is; a sparse file takes none."""
    store = ioncc.folder / "big.db"
    with store.open("wb") as file:
        file.write(b"SQLite format 3\0")
        file.truncate(1 << 43)
    assert "8388608 MiB" in look("--set", f"store.url=sqlite:///{store}").one("disk-space")[0]


def test_a_store_that_is_none(look, ioncc):
    store = ioncc.folder / "store.db"
    words = ("--set", f"store.url=sqlite:///{store}")
    assert look(*words).codes == []
    store.write_bytes(b"")
    assert look(*words).codes == []
    store.write_text("something else entirely")
    assert "is no SQLite file" in look(*words).one("store-file")[0]
    store.unlink()
    store.mkdir()
    assert "Is a directory" in look(*words).one("store-file")[0]


def test_a_store_elsewhere(look):
    seen = look("--set", "store.url=postgresql://nobody:secret@localhost/x")
    assert seen.unchecked["store file"] == "the store is no file, but postgresql"


def test_a_runtime_folder_that_others_may_read(look, ioncc):
    (ioncc.folder / "run").chmod(0o755)
    message, remedy = look().one("runtime-folder")
    assert str(ioncc.folder / "run") in message
    assert f"chmod 700 {ioncc.folder / 'run'}" in remedy


def test_a_runtime_folder_of_ion_that_others_may_read(look, ioncc):
    (ioncc.folder / "run" / "ion").mkdir(mode=0o755)
    assert look().one("runtime-folder")[1] == f"chmod 700 {ioncc.folder / 'run' / 'ion'}"


def test_a_runtime_file_of_one_that_was_killed(ioncc):
    serving = ioncc.serve("-n", "--listen", "hello")
    serving.ready()
    serving.end(9)
    seen = run(ioncc)
    assert seen.codes == ["private-bus", "runtime-file"]
    message, remedy = seen.one("runtime-file")
    assert "is gone" in message
    Path(remedy.removeprefix("rm ")).unlink()
    assert run(ioncc).codes == ["private-bus"]


def test_a_runtime_file_that_others_may_read(look, ioncc):
    folder = ioncc.folder / "run" / "ion"
    folder.mkdir(mode=0o700)
    (folder / "ion.json").write_text("{}")
    (folder / "ion.json").chmod(0o644)
    assert "not believed" in look().one("runtime-file")[0]
    (folder / "ion.json").chmod(0o600)
    assert "is not whole" in look().one("runtime-file")[0]


# the key


def test_a_key_file_that_is_open_to_others(look, ioncc):
    key = ioncc.folder / "ion.key"
    words = ("--set", f"agent.key_file={key}")
    key.write_text("ab" * 32)
    key.chmod(0o644)
    assert "chmod 600" in look(*words).one("key-unusable")[0]
    key.chmod(0o600)
    assert look(*words).codes == []
    key.write_text("ab")
    assert "no key" in look(*words).one("key-unusable")[0]


# the command


def test_what_people_see(ioncc):
    done = ioncc.run("doctor", "-b", AWAY)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0] == f"system ion on {AWAY.replace(':guest@', ':***@')} (from option --broker)"
    assert lines[1].startswith("error: broker-refused: connection refused")
    assert lines[2].startswith("    remedy: systemctl start rabbitmq-server")
    assert lines[3].startswith("not checked: broker version, login, ")
    names = lines[3].removeprefix("not checked: ").rpartition(": ")[0].split(", ")
    assert lines[-1].endswith(f" 1 error, 0 warnings, {len(names)} not checked")
    assert len(lines) == 5


def test_usage(ioncc):
    assert ioncc.run("doctor", "everything").returncode == 2
    assert "ioncc doctor" in ioncc.run("doctor", "--help").stdout
    assert "doctor " in ioncc.run("--help").stdout
