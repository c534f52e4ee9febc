// Smaller copies of a large image, so that moving it costs what the screen has and not what the image has.
const FROM = 3e6; // pixels of an image that has smaller copies
const LEVELS = 4; // each half as wide as the one before

// image: what a canvas draws, width x height pixels
export function createPyramid(image, width, height) {
  const levels = []; // [scale, bitmap], the smallest last
  async function build() {
    for (let k = 1; k <= LEVELS && (width * height) / 4 ** (k - 1) > FROM / 4; k += 1) {
      const size = { resizeWidth: Math.max(1, width >> k), resizeHeight: Math.max(1, height >> k), resizeQuality: "medium" };
      levels.push([1 / 2 ** k, await createImageBitmap(k > 1 ? levels[k - 2][1] : image, size)]);
    }
  }
  if (width * height > FROM) build().catch(() => {}); // the image itself is there
  return {
    // What to draw at `scale` screen pixels for one of the image.
    at: (scale) => (levels.findLast(([level]) => level >= scale) || [1, image])[1],
  };
}
