"""What nodes do, value by value: called in a Python of ComfyUI's that has its modules, but no server and no queue."""

import json
import math
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import ROOT, find_comfyui, find_python

START = """
    import asyncio, contextlib, importlib, io, json, os, sys, types
    root, comfyui, base = sys.argv[1:4]
    sys.argv = ["main.py", "--cpu", "--base-directory", base, "--disable-api-nodes"]
    sys.path.insert(0, comfyui)
    out, sys.stdout = sys.stdout, sys.stderr
    import comfy.options
    comfy.options.enable_args_parsing()
    import aiohttp.web, comfy.cli_args, comfyui_version, folder_paths, server, torch
    from comfy_api.latest import _io
    torch.set_num_threads(1)
    pack = types.ModuleType("pack")
    pack.__path__ = [root]
    sys.modules["pack"] = pack
    nodes = importlib.import_module("pack.nodes")
    types_, optional = (importlib.import_module(f"pack.nodes.{name}") for name in ("types", "optional"))
    for name in ("consent", "image_folders", "paths", "previews", "progress", "saving", "texts", "version"):
        globals()[name] = importlib.import_module(f"pack.nodes.host.{name}")
    Path, steering = paths.Path, paths.steering
    core = importlib.import_module("pack.gan_core")
    InputError = core.InputError
    said = []
    server.PromptServer.instance = types.SimpleNamespace(
        send_progress_text=lambda text, node_id: said.append(text), client_id=None, last_node_id=None,
        routes=aiohttp.web.RouteTableDef(),
        supports=[], sockets_metadata={}, send_sync=lambda *anything: None,
    )
    asyncio.run(nodes.GANStudio().on_load())
    NODES = {each.GET_SCHEMA().node_id: each for each in asyncio.run(nodes.GANStudio().get_node_list())}

    def call(node, **inputs):
        "The outputs of a node, and what was said on it."
        said.clear()
        hidden = {"hidden_inputs": {_io.Hidden.unique_id: "1"}}
        return NODES[node].PREPARE_CLASS_CLONE(hidden).execute(**inputs).result

    def refusal(function, *arguments, **more):
        "The sentence that something is refused with."
        try:
            function(*arguments, **more)
        except InputError as error:
            return str(error)

    known = dict(globals())
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        try:
            names = dict(known)
            *before, last = json.loads(line)
            exec("\\n".join(before), names)
            answer = {"value": eval(last, names)}
        except BaseException as error:
            import traceback
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=out, flush=True)
"""


class Inside:
    """A Python of ComfyUI's."""

    def __init__(self, base: Path):
        comfyui = find_comfyui()
        assert comfyui is not None
        self.base, self.log = base, base / "log.txt"
        for folder in ("models", "input", "output", "temp", "user"):
            (base / folder).mkdir()
        self.process = subprocess.Popen(
            [find_python(comfyui), "-c", textwrap.dedent(START), str(ROOT), str(comfyui), str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
            cwd=comfyui,
        )
        assert self._answer() == "ready"

    def __call__(self, code: str) -> Any:
        """Runs lines of Python, of which the last is an expression whose value is returned, as JSON."""
        assert self.process.stdin is not None
        *before, last = textwrap.dedent(code).strip().splitlines()
        self.process.stdin.write(json.dumps(["\n".join(before), last]) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    if find_comfyui() is None:
        pytest.skip("there is no ComfyUI")
    inside = Inside(tmp_path_factory.mktemp("inside"))
    yield inside
    inside.process.kill()
    inside.process.wait()


# Leave to publish, and what is published.


@pytest.mark.parametrize(
    ("value", "may"), [("1", True), (None, False), ("", False), ("0", False), ("yes", False), ("11", False)]
)
def test_publishing_is_allowed_by_1_in_the_environment_and_nothing_else(
    inside: Inside, value: str | None, may: bool
) -> None:
    found = inside(
        f"""
        os.environ.pop("GAN_STUDIO_ALLOW_PUBLISH", None)
        os.environ.update({{}} if {value!r} is None else {{"GAN_STUDIO_ALLOW_PUBLISH": {value!r}}})
        found = consent.refusal_to_publish() is None
        os.environ.pop("GAN_STUDIO_ALLOW_PUBLISH", None)
        found
        """
    )
    assert found is may


@pytest.mark.parametrize(
    ("text", "may"),
    [("allow", True), (" allow\n", True), ("", False), ("allow it", False), ("disallow", False), ("1", False)],
)
def test_publishing_is_allowed_by_one_word_in_a_file_of_the_user(inside: Inside, text: str, may: bool) -> None:
    path = inside.base / "user" / "gan_studio" / "publish.txt"
    path.parent.mkdir(exist_ok=True)
    assert inside("consent.refusal_to_publish() is None") is False
    path.write_text(text)
    assert inside("consent.refusal_to_publish() is None") is may
    path.unlink()


@pytest.mark.parametrize(
    ("page", "disabled", "found"),
    [
        ("{'workflow': {'a': 1}}", False, {"a": 1}),
        ("{'workflow': {'a': 1}}", True, None),
        ("{}", False, {"1": "prompt"}),
        ("None", False, {"1": "prompt"}),
        ("None", True, None),
        ("{'workflow': 'x'}", False, {"1": "prompt"}),
    ],
)
def test_a_workflow_is_the_pages_or_the_prompt_and_none_where_metadata_are_turned_off(
    inside: Inside, page: str, disabled: bool, found: Any
) -> None:
    value = inside(
        f"""
        comfy.cli_args.args.disable_metadata = {disabled}
        found = consent.workflow(types.SimpleNamespace(extra_pnginfo={page}, prompt={{"1": "prompt"}}))
        comfy.cli_args.args.disable_metadata = False
        found
        """
    )
    assert value == found


# Names and places.


@pytest.mark.parametrize(
    ("version", "old"),
    [("0.18.0", True), ("0.17.9", True), ("0.9.99", True), ("0.18.1", False), ("0.19.0", False), ("1.0.0", False)],
)
def test_an_older_comfyui_is_told_what_it_lacks(inside: Inside, version: str, old: bool) -> None:
    said = inside(
        f"""
        own, comfyui_version.__version__ = comfyui_version.__version__, {version!r}
        try:
            found = version.check_version()
        except RuntimeError as error:
            found = str(error)
        comfyui_version.__version__ = own
        found
        """
    )
    assert (said is not None) == old
    if old:
        assert said.startswith("ComfyUI-GAN-Studio needs ComfyUI 0.18.1 or newer (got " + version)


@pytest.mark.parametrize(
    ("prefix", "free"),
    [("cats", True), ("a/b", True), ("a" * 200, True), ("a" * 201, False), ("猫" * 66, True), ("猫" * 67, False)]
    + [(bad, False) for bad in ("", " ", ".", "..", "../x", "a/../../x", ".hidden", "a/.b", "a/", "a\\", "/etc/x")],
)
def test_what_a_file_may_be_called(inside: Inside, prefix: str, free: bool) -> None:
    assert (inside(f"saving.bad_prefix({prefix!r})") is None) == free
    assert (inside(f"saving.bad_prefix({prefix!r}, paths.DIRECTIONS)") is None) == free


@pytest.mark.parametrize(
    "name", ["../digits.safetensors", "/etc/passwd", "a/../../user/x.safetensors", "x.pkl", "nowhere.safetensors", ""]
)
def test_no_name_leads_out_of_the_folders_of_generators(inside: Inside, name: str) -> None:
    (inside.base / "models" / "gan").mkdir(exist_ok=True)
    (inside.base / "models" / "gan" / "x.pkl").touch()
    (inside.base / "user" / "x.safetensors").touch()
    for function in ("resolve_generator", "resolve_directions"):
        assert inside(f"refusal(paths.{function}, {name!r})")


def test_a_file_that_is_replaced_has_another_fingerprint(inside: Inside) -> None:
    path = inside.base / "models" / "gan" / "y.safetensors"
    path.parent.mkdir(exist_ok=True)
    found = [inside("paths.fingerprint(paths.resolve_generator, 'y.safetensors')")]
    for size in (1, 1, 2):
        path.write_bytes(b"x" * size)
        found.append(inside("paths.fingerprint(paths.resolve_generator, 'y.safetensors')"))
    assert len(set(found)) == 4


def test_a_new_run_takes_a_free_name_and_a_resumed_one_its_own(inside: Inside) -> None:
    runs = inside.base / "output" / "gan" / "runs"
    for name in ("cats", "cats_2"):
        (runs / name).mkdir(parents=True)
    taken = """
        with saving.own_run({!r}, {}) as owner:
            found = [str(owner.folder), paths.shown_path(owner.folder)]
        found
        """
    assert inside(taken.format("cats", False)) == [str(runs / "cats_3"), "output/gan/runs/cats_3"]
    assert inside(taken.format("dogs", False)) == [str(runs / "dogs"), "output/gan/runs/dogs"]
    assert inside(taken.format("cats", True))[0] == str(runs / "cats")
    assert inside(taken.format("cats_2", True))[0] == str(runs / "cats_2")


# Images.


def test_pictures_are_images_of_comfyui(inside: Inside) -> None:
    value = inside(
        """
        images = torch.tensor([-1.0, 0.0, 1.0, -3.0, 3.0, 0.5])[:, None, None, None]
        found = types_.to_image(images)
        [list(found.shape), found[:, 0, 0].tolist(), list(types_.to_image(torch.zeros(2, 4, 5, 6)).shape)]
        """
    )
    levels = [0, 0.5, 1, 0, 1, 0.75]
    assert value == [[6, 1, 1, 3], [[level] * 3 for level in levels], [2, 5, 6, 4]]


@pytest.mark.parametrize(
    ("side", "columns", "factor"), [(8, 2, 28), (100, 1, 5), (256, 1, 2), (257, 1, 1), (600, 1, 1)]
)
def test_a_sheet_is_enlarged_by_a_whole_number(inside: Inside, side: int, columns: int, factor: int) -> None:
    height, width, pixels = inside(
        f"""
        images = torch.full(({columns}, 1, {side}, {side}), 0.2)
        found = previews.sheet(images, {columns})
        [found.shape[1], found.shape[2], found[0, 0, 0].tolist()]
        """
    )
    assert (height, width) == (side * factor, (columns * (side + 2) - 2) * factor)
    assert pixels == pytest.approx([153 / 255] * 3)


def test_a_picture_with_transparency_is_shown_on_white(inside: Inside) -> None:
    assert inside("previews.sheet(torch.full((1, 4, 8, 8), -1.0))[0, 0, 0].tolist()") == [1, 1, 1]


# Latents on their way through core's nodes.


def labelled(inside: Inside, change: str, classes: str = "torch.tensor([2, 0, 1])") -> Any:
    """The labels that are found of three labelled points after a change of the dict `values`."""
    return inside(
        f"""
        generator = types.SimpleNamespace(style_shape=None)
        samples = torch.arange(6.0).reshape(3, 2, 1, 1)
        values = types_.to_comfy(core.Latent(samples, "z", {classes}))
        exec({textwrap.dedent(change)!r})
        try:
            found = types_.from_comfy(generator, values).labels.tolist()
        except InputError as error:
            found = str(error)
        found
        """
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("pass", [2, 0, 1]),
        ("values['samples'] = samples[[2, 0]]", [1, 2]),
        ("values['samples'] = samples.repeat(2, 1, 1, 1)", [2, 0, 1] * 2),
        ("values['samples'] = samples * 2", [2, 0, 1]),  # computed with: place by place
        ("values['samples'] = samples.flip(0)", [1, 0, 2]),
        ("values['samples'] = samples.double()[1:]", [0, 1]),
    ],
)
def test_a_point_keeps_its_label_through_cores_nodes(inside: Inside, change: str, found: list[int]) -> None:
    assert labelled(inside, change) == found


@pytest.mark.parametrize(
    "change",
    [
        "values['samples'] = samples[:2] * 2",
        "values['samples'] = torch.cat([samples, samples * 2])",
        "values['samples'] = torch.cat([samples[:2], samples[2:] * 2])",
        "values['samples'], values['batch_index'] = samples * 2, [0, 1, 2]",
    ],
)
def test_a_label_that_was_lost_is_not_guessed(inside: Inside, change: str) -> None:
    assert "which lost the class labels of its images" in labelled(inside, change)


def test_the_same_point_with_two_classes_has_none_that_is_sure(inside: Inside) -> None:
    twice = "values['labelled'] = values['samples'] = samples[[0, 0, 1]]"
    assert labelled(inside, twice) == [2, 0, 1]
    assert "which lost the class labels of its images" in labelled(
        inside, f"{twice}; values['samples'] = samples[[1, 0]]"
    )
    same = labelled(inside, f"{twice}; values['samples'] = samples[[1, 0]]", "torch.tensor([2, 2, 1])")
    assert same == [1, 2]


def test_a_label_for_all_takes_the_place_of_each(inside: Inside) -> None:
    value = inside(
        """
        generator = types.SimpleNamespace(style_shape=(7, 6, 1))
        values = types_.to_comfy(core.Latent(torch.zeros(2, 2, 1, 1), "z", torch.tensor([0, 1])))
        styles = {"samples": torch.zeros(2, 7, 6, 1)}
        found = [types_.from_comfy(generator, values, 3).labels.tolist()]
        found += [types_.from_comfy(generator, styles).space, types_.from_comfy(generator, styles, 3).labels]
        found.append(types_.from_comfy(generator, {**styles, "space": "w"}).space)
        found.append(types_.from_comfy(generator, values).space)
        [*found, sorted(types_.to_comfy(core.Latent(torch.zeros(1, 2, 1, 1))))]
        """
    )
    assert value == [[3, 3], "w+", None, "w", "z", ["samples", "space"]]


# Nodes.


def test_measuring_a_likelihood_is_gan_cores_own(inside: Inside) -> None:
    value = inside(
        """
        from pack.gan_core.metrics import likelihood
        from pack.gan_core.examples import FOLDER, digits
        import numpy as np
        vae, images = core.load(FOLDER / "vae-digits.safetensors"), digits()
        chosen = images.batch(np.sort(np.random.RandomState(7).permutation(10_000)[:9]))
        found = {}
        for kind, samples in (("bernoulli", 0), ("bernoulli", 3), ("laplace", 3)):
            bound = likelihood.elbo(vae, chosen, kind, 7)
            scale = None if kind == "bernoulli" else bound.scale
            nats = bound.nats
            if samples:
                nats = float(likelihood.importance_weighted(vae, chosen, samples, kind, 7, scale).mean())
            more = f"\\n{nats:.2f} nats importance-weighted, {samples} samples" if samples else ""
            text = f"{bound}{more}\\n9 images of MNIST digits, {kind}"
            inputs = dict(generator=vae, dataset=images, likelihood=kind, count=9, samples=samples, seed=7)
            expected = [text, nats, bound.bits_per_dimension, bound.active_units]
            found[f"{kind} {samples}"] = [list(call("MeasureVAELikelihood", **inputs)), expected, said[-1]]
        found
        """
    )
    assert len(value) == 3
    for found, expected, said in value.values():
        assert found[0] == expected[0] == said
        assert found[1:] == pytest.approx(expected[1:], rel=1e-6)


@pytest.mark.parametrize(
    ("mixing", "points", "columns"), [("pairs", 3, 3), ("grid", 6, 3), ("grid with sources", 12, 4)]
)
def test_mixed_styles_say_how_many_are_in_a_row(inside: Inside, mixing: str, points: int, columns: int) -> None:
    value = inside(
        f"""
        generator = core.load(core.examples.FOLDER / "stylegan2-digits.safetensors")
        rows = types_.to_comfy(core.sample_noise(generator, range({3 if mixing == "pairs" else 2}), labels=1))
        across = types_.to_comfy(core.sample_noise(generator, range(5, 8), labels=2))
        latent, columns = call("MixGANStyles", generator=generator, latent=rows, styles=across, layers="1-2",
                               mixing={mixing!r})
        [len(latent["samples"]), columns, latent["space"]]
        """
    )
    assert value == [points, columns, "w+"]


def test_the_node_of_noise_takes_the_seeds_that_follow_and_leaves_what_is_unset_to_the_seed(inside: Inside) -> None:
    value = inside(
        """
        generator = core.load(core.examples.FOLDER / "stylegan2-digits.safetensors")
        def same(ours, *arguments, **more):
            theirs = core.sample_noise(generator, *arguments, **more)
            labels = theirs.labels is None or torch.equal(ours["labels"], theirs.labels)
            return torch.equal(ours["samples"], theirs.samples) and ours["space"] == theirs.space and labels
        one, = call("SampleNoise", generator=generator, seed=5, batch_size=3, truncation=1.0)
        two, = call("SampleNoise", generator=generator, seed=5, batch_size=3, truncation=0.5, label=" 2 ")
        three, = call("SampleNoise", generator=generator, seed=5, batch_size=3, truncation=1.0, label=0)
        three, = call("MapLatent", generator=generator, latent=three, truncation=1.0, cutoff=None)
        weights = "0:0.25, 3:0.75"
        four, = call("SampleNoise", generator=generator, seed=0, batch_size=1, truncation=1.0, label=weights)
        mixed = torch.tensor([0.25, 0, 0, 0.75] + [0.0] * (generator.classes - 4))
        found = [same(one, range(5, 8)), same(two, range(5, 8), 0.5, 2)]
        found + [same({**three, "labels": None}, range(5, 8), labels=0, space="w"), same(four, [0], labels=mixed)]
        """
    )
    assert value == [True] * 4


def test_strengths_of_a_direction_grid_run_evenly_from_minus_to_plus(inside: Inside) -> None:
    value = inside(
        """
        from pack.gan_core.media import image as pictures
        from pack.gan_core.sampling import directions as steering
        generator = core.load(core.examples.FOLDER / "digits.safetensors")
        found, noise = steering.sefa(generator, 3), core.sample_noise(generator, [4, 5])
        inputs = dict(directions=found, rows=2, columns=5, strength=3.0, cell_size=32)
        sheet, = call("LatentDirectionGrid", generator=generator, latent=types_.to_comfy(noise), **inputs)
        strengths = [-3.0, -1.5, 0.0, 1.5, 3.0]
        one = core.Latent(noise.samples[:1].expand(5, -1, -1, -1))
        made = [generator.decode(steering.move(generator, one, found, str(i), strengths)) for i in (1, 2)]
        names = ["-3", "-1.5", "0", "+1.5", "+3"]
        expected = previews.as_image(pictures.table(torch.cat(made), ["sefa 1", "sefa 2"], names, 32))
        [list(sheet.shape) == list(expected.shape), float((sheet - expected).abs().max())]
        """
    )
    assert value[0] and value[1] < 0.01


# Devices.


ON_A_GPU = """
    import comfy.model_management
    sys.path.insert(0, str(Path(root) / "tests" / "helpers"))
    sys.modules["gan_core"] = core
    from pretended_gpu import GPU, complete
    from unittest import mock
    def moved(latent, device):
        "A latent as other nodes may hand it on."
        return {name: each.to(device) if isinstance(each, torch.Tensor) else each for name, each in latent.items()}
    def where(values):
        "The devices of what nodes return."
        flat = [each for value in values for each in (value.values() if isinstance(value, dict) else [value])]
        return {str(each.device) for each in flat if isinstance(each, torch.Tensor)}
    made = set()
    empty = dict.fromkeys(("free_memory", "soft_empty_cache", "unload_all_models"), lambda *_: None)
    there = mock.patch.multiple(comfy.model_management, get_torch_device=lambda: GPU, **empty)
    with complete(), there:
"""
"""Lines before those, indented, that run with ComfyUI on a GPU that refuses tensors of two devices."""


@pytest.mark.parametrize("coming_from", ["cpu", "meta"])
def test_nodes_take_latents_from_any_device_and_hand_on_what_lies_on_the_cpu(inside: Inside, coming_from: str) -> None:
    value = inside(
        f"""
        {ON_A_GPU}
            generator = core.load(core.examples.FOLDER / "stylegan2-digits.safetensors")
            noise, = call("SampleNoise", generator=generator, seed=5, batch_size=4, truncation=1.0)
            made |= where([noise])
            latent = moved(noise, {coming_from!r})
            mixed = {{**noise, "samples": latent["samples"]}}
            classes = dict(method="boundary", count=1, name="classes", positive=latent)
            found = call("FindLatentDirections", generator=generator, **classes)
            for node, inputs in {{
                "MapLatent": dict(latent=latent, truncation=0.5),
                "GANLatentWalk": dict(latent=latent, seeds="", frames=2, interpolation="spline", closed=True),
                "MixGANStyles": dict(latent=latent, styles=noise, mixing="grid with sources"),
                "TruncateLatent": dict(latent=latent, truncation=0.5, target=noise),
                "ApplyLatentDirection": dict(latent=mixed, directions=found[0], direction="1", strength=1.0),
                "LatentDirectionGrid": dict(latent=latent, directions=found[0], rows=1, columns=2, strength=1.0),
                "GANSeedGrid": dict(seeds="3, 4", truncation=0.7),
                "Decode": dict(latent=mixed),
            }}.items():
                made |= where(call(node, generator=generator, **inputs))
        sorted(made)
        """
    )
    assert value == ["cpu"]


@pytest.mark.parametrize("coming_from", ["cpu", "meta"])
def test_nodes_take_images_from_any_device_and_hand_on_what_lies_on_the_cpu(inside: Inside, coming_from: str) -> None:
    value = inside(
        f"""
        {ON_A_GPU}
            images = torch.rand(2, 28, 28, 3).to({coming_from!r})
            vae = core.load(core.examples.FOLDER / "vae-digits.safetensors")
            plain = core.load(core.examples.FOLDER / "digits.safetensors")
            search = dict(images=images, steps=1, seed=0, tuning_steps=0, candidates=2)
            made |= where(call("EncodeWithGenerator", generator=vae, images=images, fit="crop"))
            made |= where(call("ProjectImageToLatent", generator=vae, **search))
            made |= where(call("ProjectImageToLatent", generator=plain, **search))
            as_vae, = call("GeneratorToVAE", generator=vae)
            samples = as_vae.encode(images)
            made |= where([samples, as_vae.decode(samples.to({coming_from!r})), as_vae.encode_tiled(images)])
        sorted(made)
        """
    )
    assert value == ["cpu"]


# Memory.


EXHAUSTED = """
        import comfy.model_management
        from unittest import mock
        from pack.gan_core.architectures import taesd_vae
        def exhausted(module, inputs):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        register = torch.nn.modules.module.register_module_forward_pre_hook
"""
"""Lines before those, which can let every layer fail."""


def test_what_does_not_fit_is_said_on_the_node_and_models_of_core_make_room(inside: Inside) -> None:
    said, unloaded = inside(
        f"""
        {EXHAUSTED}
        generator = core.load(core.examples.FOLDER / "digits.safetensors")
        noise, = call("SampleNoise", generator=generator, seed=5, batch_size=4, truncation=1.0)
        hook = register(exhausted)
        with mock.patch.object(comfy.model_management, "unload_all_models") as unload:
            reason = refusal(call, "Decode", generator=generator, latent=noise)
        hook.remove()
        [[reason, *said], unload.call_count]
        """
    )
    assert said[0].startswith("Decoding one image of 28x28 with digits takes more memory than the CPU has")
    assert said[-1] == said[0]
    assert unloaded == 1


def test_a_vae_that_does_not_fit_works_in_tiles(inside: Inside) -> None:
    value = inside(
        f"""
        {EXHAUSTED}
        config = taesd_vae.ARCHITECTURE.config(side=32)
        module = taesd_vae.ARCHITECTURE.generator(config).eval().requires_grad_(False)
        vae, = call("GeneratorToVAE", generator=core.Generator(taesd_vae.ARCHITECTURE, config, module))
        vae.__dict__ |= {{"decode_tiled": lambda samples: "decoded", "encode_tiled": lambda pixels: "encoded"}}
        hook = register(exhausted)
        found = [vae.decode(torch.zeros(2, 4, 4, 4)), vae.encode(torch.zeros(2, 32, 32, 3))]
        hook.remove()
        found
        """
    )
    assert value == ["decoded", "encoded"]


# Lists, and what stands in them.


@pytest.fixture
def linked(inside: Inside, tmp_path: Path) -> Iterator[Path]:
    """A folder elsewhere, to which links lead from ComfyUI's own: with a generator, its run, directions and images."""
    far = tmp_path / "far"
    shutil.copytree(ROOT / "gan_core" / "examples", far / "deep", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (far / "pictures" / "cats").mkdir(parents=True)
    places = {
        "models/gan/mine": far,
        "models/gan/one.safetensors": far / "deep" / "digits.safetensors",
        "models/gan/round": inside.base / "models" / "gan",
        "models/gan/gone.safetensors": far / "nowhere",
        "models/vae/vae.safetensors": far / "deep" / "vae-digits.safetensors",
        "models/vae/gan.safetensors": far / "deep" / "digits.safetensors",
        "input/far": far / "pictures",
        "input/round": inside.base / "input",
        "output/gan/disk": far,
    }
    for place, target in places.items():
        path = inside.base / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    yield far
    for place in places:
        (inside.base / place).unlink()


@pytest.mark.parametrize(
    ("names", "resolve", "opening"),
    [
        ("generator_names", "resolve_generator", "core.load(path)"),
        ("foreign_names", "resolve_foreign", "list(core.importing(path))"),
        ("vae_names", "resolve_vae", "list(core.importing(path))[-1].generator.architecture.encodes or 1 / 0"),
        ("direction_names", "resolve_directions", "steering.load(path)"),
    ],
)
def test_whatever_is_listed_opens(inside: Inside, linked: Path, names: str, resolve: str, opening: str) -> None:
    inside(
        """
        from pack.gan_core.training import checkpoint
        generator = core.load(core.examples.FOLDER / "digits.safetensors")
        gan = Path(base) / "models" / "gan"
        run = Path(base) / "output" / "gan" / "runs" / "listed"
        for name in ("good.safetensors", "checkpoint.safetensors", "renamed.safetensors"):
            checkpoint.write(run, dict.fromkeys(checkpoint.STATE, 0), {"w": torch.zeros(2)}, name=name)
        generator.save(run / "best.safetensors")
        steering.save(steering.sefa(generator, 2), gan / "directions.safetensors")
        steering.save(steering.sefa(generator, 2), paths.output(paths.DIRECTIONS) / "d.safetensors")
        generator.save(paths.output(paths.DIRECTIONS) / "generator.safetensors")
        for name in ("empty.safetensors", "page.safetensors"):
            (gan / name).write_bytes(b"" if name == "empty.safetensors" else b"<html>" * 9)
        generator.save(gan / "whole.safetensors")
        (gan / "cut.safetensors").write_bytes((gan / "whole.safetensors").read_bytes()[:-9])
        1
        """
    )
    found = inside(
        f"""
        found = paths.{names}()
        for name in found:
            path = paths.{resolve}(name)
            {opening}
        found
        """
    )
    own = [name for name in found if not name.startswith("example/")]
    expected = {
        "generator_names": [
            "disk/deep/digits.safetensors", "mine/deep/digits.safetensors", "one.safetensors",
            "runs/listed/best.safetensors", "whole.safetensors",
        ],
        "vae_names": ["vae.safetensors"],
        "direction_names": ["d.safetensors"],
    }.get(names, ["mine/deep/vae-digits.safetensors", "one.safetensors"])  # fmt: skip
    assert set(expected) <= set(own) and len(found) == len(set(found))
    assert not [name for name in own if name.startswith("round/") or "checkpoint" in name or "good" in name]
    if names in ("vae_names", "direction_names"):
        assert own == expected


def test_the_newest_generator_is_offered_first_and_a_thousand_headers_are_read_once(inside: Inside) -> None:
    value = inside(
        """
        gan, digits = Path(base) / "models" / "gan" / "many", (core.examples.FOLDER / "digits.safetensors").read_bytes()
        gan.mkdir(parents=True)
        for number in range(1000):
            (gan / f"{number:03}.safetensors").write_bytes(digits if number < 3 else b"<html>")
            os.utime(gan / f"{number:03}.safetensors", (number, number) if number != 1 else (2000, 2000))
        before = paths._looked_at.cache_info().misses
        first = paths.generator_names()
        read = paths._looked_at.cache_info().misses - before
        second = paths.generator_names()
        again = paths._looked_at.cache_info().misses - before - read
        import shutil
        shutil.rmtree(gan)
        ours, bundled = [name for name in first if "many" in name], list(paths.EXAMPLE_GENERATORS)
        [ours, first == second, read >= 1000, again, first[-len(bundled):] == bundled]
        """
    )
    names = [f"many/00{number}.safetensors" for number in (1, 2, 0)]
    assert value == [names, True, True, 0, True]


def test_a_file_that_is_replaced_is_looked_at_again(inside: Inside) -> None:
    value = inside(
        """
        path = Path(base) / "models" / "gan" / "changes.safetensors"
        found = []
        for content in (b"", (core.examples.FOLDER / "digits.safetensors").read_bytes(), b"<html>"):
            path.write_bytes(content)
            found.append("changes.safetensors" in paths.generator_names())
        path.unlink()
        found
        """
    )
    assert value == [False, True, False]


def test_a_linked_folder_of_images_is_listed_and_read(inside: Inside, linked: Path) -> None:
    names = inside("image_folders.image_folders()")
    assert {"input/far", "input/far/cats"} <= set(names)
    assert not [name for name in names if name.startswith("input/round")]
    cats = inside("str(image_folders.resolve_image_folder('input/far/cats'))")
    assert cats == str(inside.base / "input" / "far" / "cats")


def test_generators_are_saved_in_linked_folders(inside: Inside, linked: Path) -> None:
    value = inside(
        """
        generator = core.load(core.examples.FOLDER / "digits.safetensors")
        saved = [generator.save(saving.generator_path(prefix)) for prefix in ("disk/new/x", "disk/new/x", "%year%/y")]
        [paths.shown_path(path) for path in saved]
        """
    )
    assert value[:2] == ["output/gan/disk/new/x_00001_.safetensors", "output/gan/disk/new/x_00002_.safetensors"]
    assert value[2].startswith("output/gan/2") and value[2].endswith("/y_00001_.safetensors")
    assert (linked / "new" / "x_00002_.safetensors").is_file()


def test_the_folder_of_runs_may_be_a_link(inside: Inside, tmp_path: Path) -> None:
    runs = inside.base / "output" / "gan" / "runs"
    runs.parent.mkdir(parents=True, exist_ok=True)
    away = runs.with_name("runs away")
    if runs.exists():
        runs.rename(away)
    runs.symlink_to(tmp_path)
    (tmp_path / "kept").mkdir()
    assert inside("str(saving.run_folder('kept'))") == str(runs / "kept")
    runs.unlink()
    if away.exists():
        away.rename(runs)


# What is said.


def test_a_reason_is_given_for_its_own_input_alone(inside: Inside) -> None:
    """As ComfyUI's execution.py asks: an answer counts for every input that validate_inputs takes."""
    value = inside(
        """
        import inspect
        bad = dict(run_name="../x", name="../x", filename_prefix="../x", repo="no")
        bad |= dict(width="7", cutoff="-1", layers="4-2", columns="0", run="../x")
        def asked(node):
            takes = inspect.getfullargspec(node.validate_inputs)
            assert takes.varkw is None
            name, = takes.args[1:]
            said.clear()
            return [name, node.validate_inputs(**{name: bad[name]}), node.validate_inputs(**{name: None})]
        inherited = _io.ComfyNode.validate_inputs.__func__
        {name: asked(node) for name, node in NODES.items() if node.validate_inputs.__func__ is not inherited}
        """
    )
    assert {name: one for name, (one, *_) in value.items()} == {
        "TrainGAN": "run_name", "TrainVAE": "run_name", "SaveGenerator": "filename_prefix",
        "SaveLatentDirections": "filename_prefix", "LoadGenerator": "name", "ImportGenerator": "name",
        "VAEToGenerator": "name", "LoadLatentDirections": "name", "LoadGeneratorFromHub": "repo",
        "PublishGenerator": "repo", "LoadGANImageFolder": "width", "ImagesToGANDataset": "width",
        "MapLatent": "cutoff", "TruncateLatent": "cutoff", "MixGANStyles": "layers", "FindLatentDirections": "layers",
        "ApplyLatentDirection": "layers", "GANSeedGrid": "columns", "LoadGANRunSheets": "run",
    }  # fmt: skip
    for _, refused, unknown in value.values():
        assert isinstance(refused, str) and refused.endswith(".") and unknown is True


def test_of_several_sentences_the_worst_comes_first_and_each_once(inside: Inside) -> None:
    value = inside(
        """
        seen, ended = "It diverged. Lower the rate.", "It diverged. Lower the rate. The run was stopped."
        remarks = ["The preset is few.", f"At 20.0 kimg: {seen}", ended]
        lines = progress._lines
        diverged = types.SimpleNamespace(trouble=ended, figures="20.0 kimg", remarks=remarks)
        healthy = types.SimpleNamespace(trouble="", figures="20.0 kimg", remarks=remarks[:1])
        [lines(diverged, "kept in x"), lines(healthy, "kept in x"), texts.once(remarks)]
        """
    )
    assert value[0].splitlines() == [
        "It diverged. Lower the rate. The run was stopped.", "20.0 kimg", "kept in x", "The preset is few."
    ]  # fmt: skip
    assert value[1].splitlines() == ["20.0 kimg", "kept in x", "The preset is few."]
    assert value[2] == ["The preset is few.", "It diverged. Lower the rate. The run was stopped."]


def test_a_run_that_went_wrong_does_not_look_like_a_success(inside: Inside) -> None:
    value = inside(
        """
        import dataclasses
        folder = paths.output(paths.GENERATORS) / "runs" / "wrong"
        found, last_words = [], types.SimpleNamespace(remarks=["The disk is full."], finished_early=False)
        Ended = dataclasses.make_dataclass("Ended", ["trouble", "figures", "remarks", "failed"])
        for failed in (True, False):
            ended = Ended(trouble="It diverged.", figures="1.0 kimg", remarks=(), failed=failed)
            try:
                progress.NodeProgress("1").ended(last_words, ended, folder)
                found.append(said[-1])
            except RuntimeError as error:
                found.append([type(error).__name__, str(error)])
        found
        """
    )
    sentence = "It diverged. It is kept in output/gan/runs/wrong/generator.safetensors, for Load Generator."
    assert value == [
        ["TrainingDiverged", sentence],
        "It diverged.\n1.0 kimg\nkept in output/gan/runs/wrong\nThe disk is full.",
    ]


@pytest.mark.parametrize("kept", [True, False])
def test_a_stop_says_what_is_kept_and_how_to_go_on(inside: Inside, kept: bool) -> None:
    value = inside(
        f"""
        import comfy.model_management
        folder = paths.output(paths.GENERATORS) / "runs" / "stopped 1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
        if {kept}: (folder / "checkpoint.safetensors").touch()
        shown = progress.NodeProgress("1")
        shown.progress = types.SimpleNamespace(figures="3.5 kimg")
        try:
            with shown.until_stopped(folder):
                raise comfy.model_management.InterruptProcessingException
        except comfy.model_management.InterruptProcessingException:
            found = said[-1]
        found
        """
    )
    first, figures = value.splitlines()
    assert figures == "3.5 kimg"
    if kept:
        assert first == (
            "stopped, and kept in output/gan/runs/stopped 1: to go on, set run_name to stopped 1, turn on resume, and "
            "press Run"
        )
    else:
        assert first == "stopped before anything was learned"


def test_an_error_is_read_on_the_node(inside: Inside) -> None:
    value = inside(
        """
        from comfy_execution.utils import CurrentNodeContext
        with CurrentNodeContext("prompt", "7"):
            reason = refusal(call, "LoadGenerator", name="nowhere.safetensors")
        [reason, said[-1]]
        """
    )
    assert value[0] == value[1] and value[0].startswith('There is no generator "nowhere.safetensors"')


def test_a_text_on_a_node_is_no_markdown_with_pictures_of_strangers(inside: Inside) -> None:
    """The page draws it as Markdown, and would load what a title from the Hub names."""
    value = inside(
        """
        texts.say("![x](http://a/b.png) <img src='http://a'> [it](http://a)\\na_b *c*", "1")
        said[-1]
        """
    )
    assert "](" not in value and "<" not in value
    assert value.splitlines()[1] == "a_b *c*"


def test_pictures_in_several_passes_are_those_of_one(inside: Inside) -> None:
    value = inside(
        """
        found = []
        for name, noise in (("digits", "const"), ("stylegan2-digits", "random")):
            generator = core.load(core.examples.FOLDER / f"{name}.safetensors")
            latent = core.sample_noise(generator, range(150), labels=1 if generator.classes else None)
            one = generator.decode(latent, noise, 5)
            found.append(float((progress.decoded(generator, latent, noise, 5) - one).abs().max()))
        generator = core.load(core.examples.FOLDER / "stylegan3-digits.safetensors")
        latent = core.sample_noise(generator, range(70), labels=1 if generator.classes else None)
        turned = core.Transform(0.1, 0.0, 90.0, 1.0, True).matrices(70)
        one = generator.decode(latent, transform=turned)
        [*found, float((progress.decoded(generator, latent, transform=turned) - one).abs().max())]
        """
    )
    assert max(value) == 0


# Numbers on the page.


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        ("TransformStyleGAN3", "rotation", 0.5),
        ("ApplyLatentDirection", "strength", 0.25),
        ("SampleNoise", "truncation", 0.75),
    ],
)
def test_the_page_shows_and_keeps_a_number_as_it_was_written(
    inside: Inside, node: str, name: str, value: float
) -> None:
    """It rounds a number to as many digits as its step has."""
    step = inside(
        f"""
        inputs = NODES[{node!r}].INPUT_TYPES()
        {{**inputs["required"], **inputs.get("optional", {{}})}}[{name!r}][1]["step"]
        """
    )
    digits = max(0, -math.floor(math.log10(step)))
    assert float(f"{value:.{digits}f}") == value


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [("GANSettings", "patience_kimg", value) for value in (0.3, 0.02, 12.75)]
    + [("VAESettings", "adversarial_kimg", value) for value in (0.3, 0.02)]
    + [("GANSettings", "learning_rate", 2e-6), ("GANSettings", "learning_rate", 0.00025)]
    + [("GANSettings", "gamma", 0.0256), ("GANSettings", "lecam", 0.0003)]
    + [("VAESettings", "beta", 1e-6), ("VAESettings", "free_bits", 0.005)],
)
def test_a_setting_is_the_number_that_was_written(inside: Inside, node: str, name: str, value: float) -> None:
    """As a text, which the page does not round."""
    kind, settings = inside(
        f"""
        kind = NODES[{node!r}].INPUT_TYPES()["optional"][{name!r}][0]
        [kind, call({node!r}, **{{{name!r}: {str(value)!r}}})[0]]
        """
    )
    assert kind == "STRING,FLOAT,INT" and settings == {name: value}


@pytest.mark.parametrize("value", [0.3, 0.02, 12.75])
def test_a_budget_is_the_number_that_was_written(inside: Inside, value: float) -> None:
    found = inside(
        f"""
        train = importlib.import_module("pack.nodes.train")
        [train.KIMG.read({str(value)!r}), train.MINUTES.read({value!r}), train.KIMG.read("no limit")]
        """
    )
    assert found == [value, value, None]


def test_no_number_that_may_be_a_fraction_is_shown_without_one(inside: Inside) -> None:
    value = inside(
        """
        found = []
        for name, node in NODES.items():
            inputs = node.INPUT_TYPES()
            for each, (kind, options) in [*inputs["required"].items(), *inputs.get("optional", {}).items()]:
                if kind == "FLOAT" and options["step"] >= 1:
                    found.append(f"{name}.{each}")
        found
        """
    )
    assert value == []


# Inputs that may be left unset.


@pytest.mark.parametrize("value", ["", " ", "None", "all", " ALL "])
def test_what_is_unset_is_unset(inside: Inside, value: str) -> None:
    assert inside(f"optional.OptionalInt('n', 'all', 1, 9).read({None if value == 'None' else value!r})") is None
    assert inside(f"optional.OptionalFloat('n', 'all', 0, 9).read({None if value == 'None' else value!r})") is None
    assert inside(f"optional.OptionalLayers('n', 'all').read({None if value == 'None' else value!r})") == [None, None]


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("OptionalInt('n', 'all', 1, 9)", "4", 4), ("OptionalInt('n', 'all', 1, 9)", 9, 9),
        ("OptionalInt('n', 'all', -5, 9)", " -5 ", -5),
        ("OptionalFloat('n', 'preset', 0, 9)", "0.000002", 2e-6), ("OptionalFloat('n', 'preset', 0, 9)", 0, 0),
        ("OptionalFloat('n', 'preset', 0, 9)", "1e-3", 0.001), ("OptionalFloat('n', 'preset', 0, 9)", 0.3, 0.3),
        ("OptionalLayers('n', 'all')", "2-5", [2, 5]), ("OptionalLayers('n', 'all')", "4 - Last", [4, None]),
        ("OptionalLayers('n', 'all')", 3, [3, 3]), ("OptionalLayers('n', 'all')", "0-0", [0, 0]),
    ],
)  # fmt: skip
def test_a_number_is_what_was_written_or_linked(inside: Inside, kind: str, value: Any, read: Any) -> None:
    assert inside(f"optional.{kind}.read({value!r})") == read


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("OptionalInt('n', 'all', 1, 9)", 0, 'n must be all or a whole number from 1 to 9 (got "0").'),
        ("OptionalInt('n', 'all', 1, 9)", -1, 'n must be all or a whole number from 1 to 9 (got "-1").'),
        ("OptionalInt('n', 'all', 1, 9)", "2.0", 'n must be all or a whole number from 1 to 9 (got "2.0").'),
        ("OptionalInt('n', 'all', 1, 9)", "9" * 5000, "n must be all or a whole number from 1 to 9 (got "),
        ("OptionalFloat('n', 'preset', 0, 9)", -1, 'n must be preset or a number from 0 to 9 (got "-1").'),
        ("OptionalFloat('n', 'preset', 0, 9)", "nan", 'n must be preset or a number from 0 to 9 (got "nan").'),
        ("OptionalFloat('n', 'preset', 0, 9)", {"a": 1}, "n must be preset or a number from 0 to 9 (got "),
        (
            "OptionalLayers('n', 'all')",
            "5-2",
            'n must be all or a range of layers, such as 2-5, 4-last or 3 (got "5-2").',
        ),
        (
            "OptionalLayers('n', 'all')",
            "-1",
            'n must be all or a range of layers, such as 2-5, 4-last or 3 (got "-1").',
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_number_is_a_sentence(inside: Inside, kind: str, value: Any, sentence: str) -> None:
    said = inside(f"[refusal(optional.{kind}.read, {value!r}), optional.{kind}.reason({value!r})]")
    assert said[0] == said[1] and said[0].startswith(sentence) and len(said[0]) < 300


def test_an_optional_number_takes_links_and_is_no_number_of_the_page(inside: Inside) -> None:
    value = inside(
        """
        inputs = NODES["MapLatent"].INPUT_TYPES()
        [inputs["optional"]["cutoff"][0], inputs["optional"]["cutoff"][1]["default"], "cutoff" in inputs["required"]]
        """
    )
    assert value == ["STRING,INT", "all", False]


# Data, and the classes in it.


def test_a_folder_or_an_archive_of_input_is_read_and_its_classes_are_said(inside: Inside) -> None:
    value = inside(
        """
        import pathlib, shutil
        from PIL import Image
        base = pathlib.Path(folder_paths.get_input_directory())
        for i, name in enumerate(["1", "10", "2", "10"]):
            (base / "animals" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (i, 0, 0)).save(base / "animals" / name / f"{i}.png")
        (base / "animals" / "photo.heic").write_text("no image")
        shutil.make_archive(str(base / "packed"), "zip", base / "animals")
        inputs = dict(size=16, channels="auto", fit="crop", mirror=False, labels=True)
        found = []
        for name in ("input/animals", "input/packed.zip"):
            dataset, = call("LoadGANImageFolder", folder=name, **inputs)
            found.append([dataset.name, list(dataset.class_names), dataset.labels.tolist(), said[-1]])
        names = ["input/../packed.zip", "input/animals/../packed.zip", "input/none.zip", "packed.zip"]
        refused = [refusal(image_folders.resolve_images, name) is not None for name in names]
        [found, image_folders.image_archives(), refused]
        """
    )
    found, archives, refused = value
    assert [one[:3] for one in found] == [[name, ["1", "2", "10"], [0, 2, 2, 1]] for name in ("animals", "packed")]
    assert all("\n3 classes, by the folders: 1 (1), 2 (1), 10 (2).\n" in one[3] for one in found)
    assert all("Ignored: 1 .heic." in one[3] for one in found)
    assert archives == ["input/packed.zip"]
    assert refused == [True] * 4


def test_a_class_is_known_to_nodes_by_its_name(inside: Inside) -> None:
    value = inside(
        """
        generator = core.load(core.examples.FOLDER / "stylegan2-digits.safetensors")
        cards = {"tens": core.Card(class_names=tuple(str(10 * i) for i in range(10))),
            "words": core.Card(class_names=tuple(f"kind {i}" for i in range(10)))}
        named = {key: core.Generator(generator.architecture, generator.config, generator.module, card)
            for key, card in cards.items()}
        def labels(key, label, mixed=False):
            inputs = dict(generator=named[key], seed=0, batch_size=1, truncation=1.0)
            found = call("SampleNoise", label=label, **inputs)[0]["labels"]
            return found.tolist()[0] if mixed else found.item()
        refused = refusal(labels, "tens", 1), refusal(labels, "words", 10)
        mixture = labels("words", "kind 3:0.25, 4:0.75", mixed=True)
        [labels("tens", 90), labels("words", "9"), labels("words", "Kind 3"), refused, mixture]
        """
    )
    assert value[:3] == [9, 9, 3]
    assert "no class 1." in value[3][0] and "the classes 0, 10, 20" in value[3][0]
    assert "no class 10." in value[3][1] and "the classes kind 0, kind 1" in value[3][1]
    assert value[4] == [0.0, 0.0, 0.0, 0.25, 0.75, 0.0, 0.0, 0.0, 0.0, 0.0]
