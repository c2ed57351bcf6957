"""How image files suit the size and the colours that a data set gives them."""

from __future__ import annotations

from dataclasses import dataclass

ENLARGED = 1.25
"""Factor from which an enlarged image is one: it is visibly blurred."""

LOST = 1 / 3
"""Share of an image's area from which a crop loses too much of it, or of a padded one that is bars."""

MANY = 0.1
"""Share of images from which they are spoken of."""


@dataclass
class Fitting:
    """What is counted of the images of a data set while they are fitted."""

    images: int = 0
    small: int = 0
    """Images that had to be enlarged."""
    oblong: int = 0
    """Images of very different proportions."""
    grey: int = 0

    def add(self, own_size: tuple[int, int], own_channels: int, size: tuple[int, int], fit: str) -> None:
        """Counts an image. own_size, size: height and width in its file and in the data set. fit: see FITS."""
        scales = [new / own for new, own in zip(size, own_size, strict=True)]
        self.images += 1
        self.small += (min if fit == "pad" else max)(scales) >= ENLARGED
        self.oblong += min(scales) / max(scales) < 1 - LOST
        self.grey += own_channels == 1

    def advice(self, size: tuple[int, int], channels: int, fit: str) -> list[str]:
        """Sentences on what many images suffer, each with what to do."""
        of, said = f"of {self.images:,} images", []
        if self._many(self.small):
            said.append(
                f"{self.small:,} {of} are smaller than {size[1]}x{size[0]} and were enlarged, so that the generator "
                "learns their blur: choose a smaller size, or leave them out."
            )
        if self._many(self.oblong):
            seen, instead = SUFFERED[fit]
            said.append(f"{self.oblong:,} {of} {seen}: choose {instead}, or another size and width.")
        if channels > 1 and self._many(self.grey) and self._many(self.images - self.grey):
            said.append(
                f"{self.grey:,} {of} are grey and the others in colour, so that samples are of both kinds: set "
                "channels to grey, or leave one kind out."
            )
        return said

    def _many(self, count: int) -> bool:
        return count >= max(1, MANY * self.images)


SUFFERED = {
    "crop": ("lose more than a third of their area to the crop", "pad or stretch"),
    "pad": ("are more than a third bars", "crop or stretch"),
    "stretch": ("are stretched to very different proportions", "crop or pad"),
}
"""What a fit does to images of very different proportions, and which fits do not."""
