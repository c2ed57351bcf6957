"""The tensors of an AutoencoderKL under the names that other programs gave them."""

from torch import Tensor


def in_latent_diffusion(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of latent-diffusion's code, word by word."""
    last = max(int(name.split(".")[2]) for name in tensors if name.startswith("decoder.up_blocks."))
    theirs = {}
    for name, tensor in tensors.items():
        words = name.split(".")
        if words[1] in ("down_blocks", "up_blocks"):
            number = words[2] if words[1] == "down_blocks" else str(last - int(words[2]))
            row = words[1].removesuffix("_blocks")
            if words[3] == "resnets":
                layer = "nin_shortcut" if words[5] == "conv_shortcut" else words[5]
                words = [words[0], row, number, "block", words[4], layer, words[6]]
            else:
                words = [words[0], row, number, f"{row}sample", "conv", words[6]]
        elif words[1:3] == ["mid_block", "resnets"]:
            words = [words[0], "mid", f"block_{int(words[3]) + 1}", *words[4:]]
        elif words[1:3] == ["mid_block", "attentions"]:
            layers = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
            words = [words[0], "mid", "attn_1", layers[words[4]], words[-1]]
        elif words[1] == "conv_norm_out":
            words[1] = "norm_out"
        is_matrix = words[2:3] == ["attn_1"] and tensor.ndim == 2
        theirs[".".join(words)] = tensor[:, :, None, None] if is_matrix else tensor
    return theirs


def in_older_diffusers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with attention's layers as diffusers called them once."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    theirs = {}
    for name, tensor in tensors.items():
        new = next((new for new in names if f".{new}." in name), None)
        theirs[name.replace(new, names[new]) if new else name] = tensor
    return theirs
