"""A run and its folder: who owns it, what is kept in it and when, and what happens where it cannot be kept."""

import errno
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from training_runs import finish, happened

import gan_core
from gan_core import InputError, TrainConfig, files, locks, train
from gan_core.cli import main
from gan_core.locks import FolderInUse, own, own_next_free
from gan_core.training import checkpoint, run_files
from gan_core.training import distributed as parallel
from gan_core.training.distributed import asked_to_stop
from gan_core.training.methods.adversarial import Adversarial

BATCH = 5

SMALL = ["--preset", "dcgan_small", "--size", "16", "--batch", "4", "--device", "cpu"]


def config_for(folder: Path, steps: float = 4, **changes) -> TrainConfig:
    settings = {"preset": "dcgan_small", "batch_size": BATCH, "kimg": steps * BATCH / 1000, **changes}
    return TrainConfig.of(folder, **settings)


def steps_kept(folder: Path) -> int:
    found = checkpoint.state_of(folder)
    return 0 if found is None else found["steps"]


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def whole(steps: int) -> list[str]:
    """The files of a run with one checkpoint, after a number of steps."""
    sheets = [f"film/{BATCH * steps:012d}.jpg", "samples/000000.0kimg.png"]
    return sorted(["checkpoint.safetensors", "generator.safetensors", "history.csv", "snapshot.json", *sheets])


# One owner.


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_in_the_same_folder_is_refused_and_the_first_keeps_its_work(noise_images, tmp_path, resume):
    with closing(train(noise_images, config_for(tmp_path, 3), "cpu")) as first:
        next(first), next(first)
        with pytest.raises(FolderInUse, match="is in use by another run in this program, since"):
            finish(noise_images, config_for(tmp_path, 9, resume=resume))
        assert len(list(first)) == 2
    assert steps_kept(tmp_path) == 3 and names_in(tmp_path) == whole(3)


def test_a_vae_and_a_gan_do_not_share_a_folder(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path, preset="conv_vae"), "cpu")) as first:
        next(first)
        with pytest.raises(FolderInUse):
            finish(noise_images, config_for(tmp_path))


def test_two_runs_in_two_threads_do_not_share_a_folder(noise_images, tmp_path):
    refused = []

    def second():
        try:
            finish(noise_images, config_for(tmp_path))
        except FolderInUse as error:
            refused.append(error)

    with closing(train(noise_images, config_for(tmp_path), "cpu")) as first:
        next(first)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1


def begin(dataset, folder):
    training = train(dataset, config_for(folder, 100), "cpu")
    next(training), next(training)
    return training


def leave_by_closing(training):
    training.close()


def leave_by_an_exception(training):
    with pytest.raises(ZeroDivisionError), training:
        raise ZeroDivisionError


@pytest.mark.parametrize("leave", [leave_by_closing, leave_by_an_exception, lambda _: None])
def test_however_a_run_is_left_its_folder_is_free_for_the_next(noise_images, tmp_path, leave):
    leave(begin(noise_images, tmp_path))
    gc.collect()  # of one that was left by nothing else
    assert names_in(tmp_path) == whole(1)
    assert finish(noise_images, config_for(tmp_path, 2, resume=True)).last.images == 2 * BATCH


def test_a_run_that_cannot_begin_leaves_no_folder(noise_images, tmp_path):
    with pytest.raises(InputError, match="fewer than a batch"):
        finish(noise_images, config_for(tmp_path / "new" / "run", batch_size=100))
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_says_who_has_the_folder(photos, tmp_path):
    program = """
        import sys
        from pathlib import Path
        from gan_core.locks import own
        with own(Path(sys.argv[1])):
            print("owns", flush=True)
            sys.stdin.read()
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), tmp_path / "run"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        for resume in [], ["--resume"]:
            command = ["train", photos, "--out", tmp_path / "run", "--size", 16, "--kimg", 0.01, *resume]
            result = CliRunner().invoke(main, list(map(str, command)))
            assert result.exit_code == 2, result.output
            (line,) = result.stderr.splitlines()
            assert f"{tmp_path / 'run'} is in use by process {other.pid}, since 20" in line
        other.kill()


def test_two_demos_at_once_have_a_folder_each(tmp_path):
    with own_next_free(tmp_path / "demo"):
        result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--minutes", "0.001"])
    assert result.exit_code == 0, result.output
    assert "The name demo is taken: this run is kept in demo_2." in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["demo_2"]
    assert {"samples.png", "loss.png", "generator.safetensors"} <= set(names_in(tmp_path / "demo_2"))


def test_a_run_whose_folder_was_removed_goes_on_in_it(noise_images, tmp_path, monkeypatch):
    with closing(begin(noise_images, tmp_path / "run")) as steps:
        files.remove(tmp_path / "run")
        next(steps)
    assert steps_kept(tmp_path / "run") == 2 and names_in(tmp_path / "run") == whole(2)


def test_a_run_whose_folder_is_anothers_by_now_writes_nothing_into_it(noise_images, tmp_path):
    first = begin(noise_images, tmp_path / "run")
    files.remove(tmp_path / "run")
    with own(tmp_path / "run"):
        with pytest.raises(FolderInUse):
            first.close()
        assert names_in(tmp_path / "run") == [locks.LOCK]


# Which run it is.


def test_resuming_what_is_not_there_says_that_it_is_a_new_run(noise_images, tmp_path):
    _, last = finish(noise_images, config_for(tmp_path / "typo", 1, resume=True))
    assert "There is no run in typo to resume: this is a new one." in last.remarks
    _, again = finish(noise_images, config_for(tmp_path / "typo", 2, resume=True))
    assert again.remarks == ()


def test_a_run_that_has_spent_its_budget_says_so_and_changes_nothing(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path / "run", 4))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for steps in 4, 2:
        (only,) = train(noise_images, config_for(tmp_path / "run", steps, resume=True), "cpu")
        wanted = f"run is already at 0.02 kimg, and the budget is {steps * BATCH / 1000:g}: raise kimg to continue."
        assert only.remarks == (wanted,)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


# When it is kept.


def test_the_first_checkpoint_comes_after_seconds_and_the_next_after_a_minute(noise_images, tmp_path, monkeypatch):
    assert run_files.FIRST_CHECKPOINT_SECONDS <= 10 < run_files.CHECKPOINT_SECONDS <= 60
    clock = [0.0]
    monkeypatch.setattr(run_files.time, "monotonic", lambda: clock[0])
    kept = []
    with closing(train(noise_images, config_for(tmp_path, 100), "cpu")) as steps:
        next(steps)
        for clock[0] in 1.0, 4.0, 6.0, 20.0, 60.0, 70.0, 120.0, 140.0:
            next(steps)
            kept.append(steps_kept(tmp_path))
    assert kept == [0, 0, 3, 3, 3, 6, 6, 8]


def test_a_resumed_run_is_kept_early_too(noise_images, tmp_path, monkeypatch):
    finish(noise_images, config_for(tmp_path, 2))
    monkeypatch.setattr(run_files, "FIRST_CHECKPOINT_SECONDS", 0)
    with closing(train(noise_images, config_for(tmp_path, 100, resume=True), "cpu")) as steps:
        next(steps), next(steps)
        assert steps_kept(tmp_path) == 3
        next(steps)
        assert steps_kept(tmp_path) == 3


SIGNALS = [name for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]


@pytest.fixture
def _own_handlers():
    """Puts the handlers of signals back, and hears Ctrl-C, which a shell's background would ignore."""
    before = {which: signal.getsignal(which) for which in parallel.SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends signals in another way")
@pytest.mark.usefixtures("_own_handlers")
@pytest.mark.parametrize("name", SIGNALS)
def test_what_asks_a_training_to_stop_ends_it_after_a_whole_step(photos, tmp_path, name, monkeypatch):
    """In its first seconds too, as Ctrl-C does: what was learned is what an undisturbed run would have learned."""
    step = Adversarial.generator_step

    def asked(self, *arguments):
        context = arguments[-1]
        if context.step == 2:
            os.kill(os.getpid(), getattr(signal, name))
            os.kill(os.getpid(), signal.SIGTERM)  # a launcher may say it twice
        return step(self, *arguments)

    monkeypatch.setattr(Adversarial, "generator_step", asked)
    command = ["train", photos, "--out", tmp_path / "run", "--minutes", 5, *SMALL]
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 130, result.output
    said = result.stderr.splitlines()[-1]
    assert said == f"Stopped; the progress is saved in {tmp_path / 'run'}, and --resume continues from there."
    assert steps_kept(tmp_path / "run") == 3
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        [
            "checkpoint.safetensors",
            "film",
            "generator.safetensors",
            "history.csv",
            "loss.png",
            "samples",
            "snapshot.json",
        ]
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows sends signals in another way")
@pytest.mark.usefixtures("_own_handlers")
def test_a_second_ctrl_c_does_not_wait_for_the_step(photos, tmp_path, monkeypatch):
    after = []

    def asked(self, *_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        after.append("went on")

    monkeypatch.setattr(Adversarial, "generator_step", asked)
    result = CliRunner().invoke(main, ["train", str(photos), "--out", str(tmp_path / "run"), "--minutes", "5", *SMALL])
    assert (result.exit_code, after) == (130, []), result.output
    assert result.stderr.splitlines()[-1] == "Stopped before the first checkpoint."


def test_who_stops_before_the_first_step_is_not_told_that_anything_is_kept(photos, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gan_core.training.loop.Run", interrupted)
    command = ["train", str(photos), "--out", str(tmp_path / "run"), "--size", "16", "--kimg", "0.01"]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "Stopped before the first checkpoint.")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_own_handlers")
def test_handlers_of_signals_are_put_back_and_what_is_ignored_stays_ignored():
    def others(*_):
        pass

    heard = []
    signal.signal(signal.SIGTERM, others)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a shell's background, or SIGHUP under nohup
    with asked_to_stop(lambda number, _: heard.append(number)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is others
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    with parallel.World(size=2).listening():
        assert signal.getsignal(signal.SIGTERM) is not others
    assert signal.getsignal(signal.SIGTERM) is others


def test_what_asks_to_stop_is_heard_under_all_its_names():
    assert {signal.SIGINT, signal.SIGTERM} <= set(parallel.SIGNALS)
    assert getattr(signal, "SIGHUP", signal.SIGTERM) in parallel.SIGNALS  # a terminal that closes
    assert getattr(signal, "SIGBREAK", signal.SIGTERM) in parallel.SIGNALS  # Ctrl-Break on Windows


# Where it cannot be kept.


@pytest.fixture
def open_elsewhere(monkeypatch):
    """Names that stand for files that another program holds open, as Windows lets no such file be replaced."""
    names = set()
    replace = os.replace

    def refuse(old, new):
        if Path(new).name in names or Path(new).suffix in names:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(new))
        replace(old, new)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    return names


@pytest.mark.parametrize("name", ["history.csv", ".png"])
def test_a_table_or_a_sheet_that_is_open_elsewhere_is_a_remark(
    noise_images, tmp_path, monkeypatch, open_elsewhere, name
):
    monkeypatch.setattr(run_files, "CHECKPOINT_SECONDS", 0)
    open_elsewhere.add(name)
    _, last = finish(noise_images, config_for(tmp_path, 4))
    (remark,) = happened(last)
    assert remark.endswith("cannot be written: The process cannot access the file. Training continues without it.")
    assert steps_kept(tmp_path) == 4
    assert gan_core.load(tmp_path / "generator.safetensors").card.training["kimg"] == 0.02


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "generator.safetensors"])
def test_a_checkpoint_that_cannot_be_written_is_tried_again(noise_images, tmp_path, monkeypatch, open_elsewhere, name):
    """What was kept before stays, and training goes on."""
    monkeypatch.setattr(run_files, "CHECKPOINT_SECONDS", 0)
    steps = train(noise_images, config_for(tmp_path, 4), "cpu")
    next(steps), next(steps)
    older = (tmp_path / name).read_bytes()
    open_elsewhere.add(name)
    for _ in range(2):
        progress = next(steps)
        assert (tmp_path / name).read_bytes() == older
    open_elsewhere.clear()
    assert len(list(steps)) == 1
    assert steps_kept(tmp_path) == 4
    (remark,) = happened(progress)
    assert remark.startswith(f"{tmp_path / name} cannot be written: ")
    assert remark.endswith("The checkpoint before stays, and the next is tried in its time.")


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "generator.safetensors"])
def test_what_cannot_be_kept_at_the_end_is_a_sentence(photos, tmp_path, open_elsewhere, name):
    """And nobody is told that it was kept."""
    open_elsewhere.add(name)
    command = ["train", photos, "--out", tmp_path / "run", "--kimg", 0.01, *SMALL]
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith(f"Error: {tmp_path / 'run' / name} cannot be written: ")
    assert "generator.safetensors   " not in result.stdout and "is kept in" not in result.stderr


def test_a_chart_that_is_open_elsewhere_leaves_the_training_a_good_one(photos, tmp_path, open_elsewhere):
    open_elsewhere.add("loss.png")
    command = ["train", photos, "--out", tmp_path / "run", "--kimg", 0.01, *SMALL]
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert "There is no chart of the losses: " in result.stderr
    assert "loss.png" not in result.stdout
    assert gan_core.load(tmp_path / "run" / "generator.safetensors")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
def test_a_disk_that_is_full_for_a_while_costs_one_checkpoint(noise_images, tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "CHECKPOINT_SECONDS", 0)
    sync = os.fsync
    steps = train(noise_images, config_for(tmp_path, 4), "cpu")
    next(steps), next(steps)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    next(steps)
    assert steps_kept(tmp_path) == 1
    monkeypatch.setattr(os, "fsync", sync)
    (*_, last) = steps
    assert steps_kept(tmp_path) == 4 and any("No space left on device" in remark for remark in last.remarks)


@pytest.mark.skipif(sys.platform != "linux", reason="shown on Linux")
def test_what_a_killed_training_left_is_gone_when_it_is_resumed(noise_images, tmp_path):
    program = """
        import sys
        import numpy as np
        from gan_core import ImageDataset, TrainConfig, train
        from gan_core.media import image as pictures
        from gan_core.training import run_files

        run_files.FIRST_CHECKPOINT_SECONDS = 0
        def interrupted(picture, path):
            with pictures.replacing(path) as partial:
                partial.write_bytes(bytes(1000))
                print("half", flush=True)
                sys.stdin.read()
        pictures.save_png = interrupted
        dataset = ImageDataset.from_images(np.zeros((24, 16, 16, 1), np.uint8))
        list(train(dataset, TrainConfig.of(sys.argv[1], preset="dcgan_small", batch_size=5, kimg=1), "cpu"))
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), tmp_path]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.kill()
    assert steps_kept(tmp_path) == 1 and any(".partial" in name for name in names_in(tmp_path))
    finish(noise_images, config_for(tmp_path, 1, resume=True))  # which has nothing to write
    assert names_in(tmp_path) == ["checkpoint.safetensors", "generator.safetensors", "history.csv"]
