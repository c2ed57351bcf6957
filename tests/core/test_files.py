"""Files that are whole or not there, what a process that died has left, and folders that have one owner."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from gan_core import InputError, files, locks
from gan_core.files import remove, replacing, temporary_folder
from gan_core.locks import FolderInUse, own, own_next_free

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="shown on Linux, where processes can be held and killed")


class Process:
    """Another process, which runs a program until it prints a line, and from then on until it is ended."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait()


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


HALF_WRITTEN = """
    import sys
    from pathlib import Path
    from gan_core.files import replacing
    with replacing(Path(sys.argv[1])) as partial, partial.open("wb") as file:
        file.write(bytes(3_000_000))
        file.flush()
        print("half", flush=True)
        sys.stdin.read()
"""

HALF_BUILT = """
    import sys
    from pathlib import Path
    from gan_core.files import temporary_folder
    with temporary_folder(Path(sys.argv[1]).parent) as folder:
        (folder / "pixels").write_bytes(bytes(3_000_000))
        print("half", flush=True)
        sys.stdin.read()
        (folder / "pixels").rename(sys.argv[1])
"""

OWNS = """
    import sys
    from pathlib import Path
    from gan_core.locks import own
    with own(Path(sys.argv[1])):
        print("owns", flush=True)
        sys.stdin.read()
"""


# Replacing.


def test_a_reader_never_sees_a_part_of_a_file(tmp_path):
    """At the border to the system: whoever opens the file at any time finds all of the older or all of the newer."""
    path = tmp_path / "a"
    size = 300_000
    path.write_bytes(b"0" * size)
    seen, ended = [], threading.Event()

    def read():
        while not ended.is_set():
            content = path.read_bytes()
            seen.append((len(content), len(set(content))))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(10):
        with replacing(path) as partial, partial.open("wb", buffering=0) as file:
            for _ in range(10):
                file.write(b"%d" % number * (size // 10))
    ended.set()
    reader.join()
    assert set(seen) == {(size, 1)}


def test_a_file_is_another_file_once_it_is_replaced(tmp_path):
    path = tmp_path / "a"
    path.write_text("older")
    before = path.stat().st_ino
    with path.open() as opened:
        with replacing(path) as partial:
            partial.write_text("newer")
        assert opened.read() == "older"
    assert path.stat().st_ino != before


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a power cut leaves an empty file under a good name."""
    happened = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (happened.append(("sync", os.fstat(file).st_ino)), sync(file))[1])
    monkeypatch.setattr(
        os, "replace", lambda old, new: (happened.append(("replace", os.stat(old).st_ino)), replace(old, new))[1]
    )
    with replacing(tmp_path / "a") as partial:
        partial.write_text("new")
    written = (tmp_path / "a").stat().st_ino
    assert happened[:2] == [("sync", written), ("replace", written)]
    if os.name != "nt":
        assert happened[2:] == [("sync", tmp_path.stat().st_ino)]


@LINUX
def test_killed_in_the_midst_of_writing_the_older_file_stands(tmp_path):
    (tmp_path / "a").write_text("older")
    with Process(HALF_WRITTEN, tmp_path / "a") as other:
        assert other.said == "half"
        assert (tmp_path / "a").read_text() == "older"
        other.kill()
    assert (tmp_path / "a").read_text() == "older"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_a_person_gives_new_files(tmp_path, mask):
    from gan_core.weights import write_tensors

    before = os.umask(mask)
    try:
        write_tensors(tmp_path / "a.safetensors", {}, {"format": "pt"})
        with replacing(tmp_path / "b") as partial:
            partial.write_text("b")
    finally:
        os.umask(before)
    for name in "a.safetensors", "b":
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_text("older")
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "a")
    with replacing(tmp_path / "a") as partial:
        partial.write_text("newer")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "disk" / "a").read_text() == "newer"


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_is_replaced_by_no_file(tmp_path, linked):
    (tmp_path / "folder").mkdir()
    if linked:
        (tmp_path / "link").symlink_to(tmp_path / "folder")
    path = tmp_path / ("link" if linked else "folder")
    with pytest.raises(InputError, match="cannot be written"), replacing(path) as partial:
        partial.write_text("new")
    assert path.is_dir() and path.is_symlink() == linked


# What another program holds open.


def refusing(times):
    """Stands for Windows, where os.replace fails as long as another program has the file open."""
    replace = os.replace

    def refuse(old, new):
        nonlocal times
        times -= 1
        if times >= 0:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(new))
        replace(old, new)

    return refuse


def test_a_file_that_a_scanner_holds_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", refusing(3))
    with replacing(tmp_path / "a") as partial:
        partial.write_text("new")
    assert everything_in(tmp_path) == ["a"]


def test_a_file_that_stays_open_elsewhere_is_a_sentence_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    monkeypatch.setattr(os, "replace", refusing(10**6))
    (tmp_path / "a").write_text("older")
    started = time.monotonic()
    with pytest.raises(InputError, match=r"a cannot be written: The process cannot"), replacing(tmp_path / "a") as new:
        new.write_text("new")
    assert 0.05 < time.monotonic() - started < 5
    assert (tmp_path / "a").read_text() == "older" and everything_in(tmp_path) == ["a"]


def test_what_is_removed_while_it_is_open_is_waited_for_too(tmp_path, monkeypatch):
    rmtree, refused = files.shutil.rmtree, []

    def refuse(path):
        if len(refused) < 3:
            refused.append(path)
            raise PermissionError(errno.EACCES, "mapped", str(path))
        rmtree(path)

    monkeypatch.setattr(files.shutil, "rmtree", refuse)
    (tmp_path / "cache").mkdir()
    assert remove(tmp_path / "cache") and everything_in(tmp_path) == []
    assert remove(tmp_path / "never there")


def test_removing_a_link_leaves_what_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert remove(tmp_path / "link") and everything_in(tmp_path) == ["real"]


# What a process that died has left.


@LINUX
@pytest.mark.parametrize("program", [HALF_WRITTEN, HALF_BUILT])
def test_what_a_killed_process_left_is_removed_by_the_next_one_that_writes_there(tmp_path, program):
    with Process(program, tmp_path / "a") as other:
        other.kill()
    assert len(everything_in(tmp_path)) > 1
    with replacing(tmp_path / "b") as partial:
        partial.write_text("b")
    assert everything_in(tmp_path) == ["b"]


@LINUX
@pytest.mark.parametrize("program", [HALF_WRITTEN, HALF_BUILT])
def test_what_a_living_process_is_writing_is_left_alone(tmp_path, program):
    with Process(program, tmp_path / "a") as other:
        os.kill(other.process.pid, signal.SIGSTOP)  # which may take as long as it likes
        with replacing(tmp_path / "b") as partial:
            partial.write_text("b")
        os.kill(other.process.pid, signal.SIGCONT)
        other.process.communicate(timeout=60)
        assert other.process.returncode == 0
    assert (tmp_path / "a").exists() and not (tmp_path / ".partial").exists()


@LINUX
def test_what_safetensors_itself_leaves_is_removed_too(tmp_path):
    """It writes to a temporary file of its own, which it puts beside the one that it was given."""
    program = """
        import sys, threading, time, torch
        from pathlib import Path
        from gan_core.weights import write_tensors
        tensors = {"a": torch.zeros(30_000_000)}
        path = Path(sys.argv[1])
        def wait_for_it():
            while not any(path.parent.rglob(".tmp*")):
                time.sleep(0.001)
            print("half", flush=True)
        threading.Thread(target=wait_for_it, daemon=True).start()
        while True:
            write_tensors(path, tensors, {})
    """
    with Process(program, tmp_path / "a.safetensors") as other:
        other.kill()
    with replacing(tmp_path / "b") as partial:
        partial.write_text("b")
    assert set(everything_in(tmp_path)) <= {"a.safetensors", "b"}


def test_what_an_older_version_left_is_removed_after_a_day(tmp_path):
    for name, age in (".old.0123abcd.partial", 2 * 86400), (".new.0123abcd.partial", 60), ("mine.partial", 10**7):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    files.clean(tmp_path)
    assert everything_in(tmp_path) == [".new.0123abcd.partial", "mine.partial"]


def test_many_threads_write_to_one_folder(tmp_path):
    """None removes what another is writing, nor the folder in which it is about to begin."""
    failed = []

    def write(name):
        try:
            for number in range(20):
                with replacing(tmp_path / name) as partial:
                    partial.write_text(f"{name} {number}")
        except (OSError, InputError) as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(f"file {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert everything_in(tmp_path) == [f"file {number}" for number in range(8)]


def test_a_temporary_folder_is_gone_after_its_block(tmp_path):
    with temporary_folder(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
    assert everything_in(tmp_path) == []


# One owner.


@pytest.fixture(params=["with locks", "without locks"])
def file_system(request, monkeypatch, tmp_path):
    """One whose files can be locked, and one, as some network shares are, whose files cannot."""
    if request.param == "without locks":
        if os.name == "nt":
            pytest.skip("Windows locks by other means")
        import fcntl

        def no_locks(*_):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", no_locks)
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(
            "import errno, fcntl\ndef no_locks(*_):\n    raise OSError(errno.ENOLCK, 'no locks')\n"
            "fcntl.flock = no_locks\n"
        )
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{os.getcwd()}")
    return request.param


@pytest.mark.usefixtures("file_system")
def test_a_folder_has_one_owner_in_a_process(tmp_path):
    with own(tmp_path / "run") as owner:
        assert owner.folder == tmp_path / "run"
        with pytest.raises(FolderInUse, match=r"run is in use by another run in this program"):
            own(tmp_path / "run").__enter__()
    with own(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


@LINUX
@pytest.mark.usefixtures("file_system")
def test_a_folder_has_one_owner_among_processes_until_that_one_is_killed(tmp_path):
    with Process(OWNS, tmp_path / "run") as other:
        with pytest.raises(FolderInUse, match=f"in use by process {other.process.pid}, since"):
            own(tmp_path / "run").__enter__()
        other.kill()
        with own(tmp_path / "run"):
            pass


def test_a_link_to_a_folder_is_that_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with own(tmp_path / "run"), pytest.raises(FolderInUse):
        own(tmp_path / "link").__enter__()


@pytest.mark.usefixtures("file_system")
def test_of_many_that_want_a_folder_at_the_same_moment_one_has_it(tmp_path):
    had, refused, start = [], [], threading.Barrier(8)
    ended = threading.Event()

    def want():
        start.wait()
        try:
            with own(tmp_path / "run"):
                had.append(1)
                ended.wait()
        except FolderInUse:
            refused.append(1)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(had) + len(refused) < 8:
        time.sleep(0.01)
    ended.set()
    for thread in threads:
        thread.join()
    assert (len(had), len(refused)) == (1, 7)


def test_a_name_is_free_where_nothing_is(tmp_path):
    (tmp_path / "run").touch()
    (tmp_path / "run_2").mkdir()
    (tmp_path / "run_3").symlink_to(tmp_path / "nowhere")
    for number in range(4, 12):
        with own_next_free(tmp_path / "run") as owner:
            assert owner.folder == tmp_path / f"run_{number}" and owner.wanted == tmp_path / "run"
            (owner.folder / "kept").touch()


def test_of_many_that_want_a_new_name_at_the_same_moment_each_has_its_own(tmp_path):
    (tmp_path / "run_2").mkdir()
    had, start, ended = [], threading.Barrier(6), threading.Barrier(6)

    def want():
        start.wait()
        with own_next_free(tmp_path / "run") as owner:
            had.append(owner.folder.name)
            ended.wait()

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(had) == ["run", "run_3", "run_4", "run_5", "run_6", "run_7"]


@LINUX
def test_a_name_of_which_a_killed_process_kept_nothing_is_free(tmp_path):
    with Process(OWNS, tmp_path / "run") as other:
        other.kill()
    assert (tmp_path / "run").is_dir()
    with own_next_free(tmp_path / "run") as owner:
        assert owner.folder == tmp_path / "run"


@LINUX
def test_a_process_that_was_forked_holds_nothing(tmp_path):
    """Such as a worker that outlives a killed training."""
    program = """
        import os, sys, time
        from pathlib import Path
        from gan_core.locks import own
        owned = own(Path(sys.argv[1]))
        owned.__enter__()
        if os.fork():
            print("forked", flush=True)
            sys.stdin.read()
        else:
            owned.__exit__(None, None, None)
            os.close(1)
            sys.stdin.read()
            time.sleep(60)
    """
    with Process(program, tmp_path / "run") as other:
        time.sleep(0.2)
        with pytest.raises(FolderInUse):
            own(tmp_path / "run").__enter__()
        other.kill()
        with own(tmp_path / "run"):
            pass


def claim(folder, seconds_ago, **said):
    """Leaves the lock of another computer in a folder."""
    holder = vars(locks.Holder.here()) | {"pid": 7, "host": "far-away"} | said
    folder.mkdir(exist_ok=True)
    (folder / locks.LOCK).write_text(locks.json.dumps(holder))
    os.utime(folder / locks.LOCK, (time.time() - seconds_ago,) * 2)


@pytest.mark.usefixtures("file_system")
def test_a_run_on_another_computer_has_its_folder_as_long_as_it_gives_signs(tmp_path):
    """Even where the share locks for each computer alone."""
    claim(tmp_path / "run", seconds_ago=5)
    with pytest.raises(FolderInUse, match="in use by process 7 on far-away, since"):
        own(tmp_path / "run").__enter__()
    claim(tmp_path / "run", seconds_ago=2 * locks.SILENCE)
    with own(tmp_path / "run"):
        pass


@pytest.mark.usefixtures("file_system")
def test_an_owner_gives_signs(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.02)
    with own(tmp_path / "run"):
        os.utime(tmp_path / "run" / locks.LOCK, (1, 1))
        for _ in range(500):
            if (tmp_path / "run" / locks.LOCK).stat().st_mtime > 1:
                return
            time.sleep(0.01)
    pytest.fail("nothing was touched")


@pytest.mark.usefixtures("file_system")
def test_a_number_of_a_process_that_is_another_by_now_holds_nothing(tmp_path):
    """In a container every start has the number 1."""
    claim(tmp_path / "run", seconds_ago=5, pid=os.getpid(), host=locks.socket.gethostname())
    with own(tmp_path / "run"):
        pass


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b"\xff\xff", b'{"pid": "x"}', b"[" * 100_000])
def test_a_lock_file_that_says_nothing_holds_nothing(tmp_path, said):
    (tmp_path / locks.LOCK).write_bytes(said)
    with own(tmp_path):
        pass


def test_an_owner_whose_folder_was_removed_takes_it_again(tmp_path):
    with own(tmp_path / "run") as owner:
        remove(tmp_path / "run")
        owner.check()
        with pytest.raises(FolderInUse):
            own(tmp_path / "run").__enter__()
        remove(tmp_path / "run")
        with own(tmp_path / "run"), pytest.raises(FolderInUse):
            owner.check()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write to"):
        own(tmp_path / "file" / "run").__enter__()
