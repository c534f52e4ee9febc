// The snapping tool: what lies under a click or a scribble, grown to what belongs together with it.
import * as regionFinder from "./regions.js";
import { nothing } from "./raster.js";

const MOST_PIXELS = 500000; // regions are found on a copy of at most this many

// found(): called when the regions are there
export function createRegionSelect(image, mask, address, found) {
  const factor = Math.min(1, Math.sqrt(MOST_PIXELS / (mask.width * mask.height)));
  const [width, height] = [Math.max(1, Math.round(mask.width * factor)), Math.max(1, Math.round(mask.height * factor))];
  let regions = null;
  let [roots, cutAt] = [null, -1];

  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0, width, height);
  const { data } = pen.getImageData(0, 0, width, height);
  const worker = new Worker(address, { type: "module" });
  worker.onmessage = (event) => {
    regions = event.data;
    worker.terminate();
    found(regions.took);
  };
  worker.onerror = () => { // no workers here: the page does it itself
    regions = regionFinder.compute(data, width, height);
    found(0);
  };
  worker.postMessage({ rgba: data, width, height });

  function cut(size) {
    if (cutAt !== size) [roots, cutAt] = [regionFinder.cut(regions, regionFinder.groupsFor(regions, size)), size];
    return roots;
  }

  // Marks the group under a point of the image; whether that was news.
  function touch(chosen, x, y, size) {
    const [i, j] = [Math.floor(x * (width / mask.width)), Math.floor(y * (height / mask.height))];
    if (i < 0 || j < 0 || i >= width || j >= height) return false;
    const root = cut(size)[regions.labels[j * width + i]];
    if (chosen[root]) return false;
    chosen[root] = 1;
    return true;
  }

  // Gives every pixel of the chosen groups a value; returns the box that was touched.
  function apply(chosen, size, value) {
    const groups = cut(size);
    const box = nothing();
    const columns = Int32Array.from({ length: mask.width }, (_, x) => Math.floor(((x + 0.5) * width) / mask.width));
    for (let y = 0; y < mask.height; y += 1) {
      const row = Math.floor(((y + 0.5) * height) / mask.height) * width;
      for (let x = 0; x < mask.width; x += 1) {
        if (!chosen[groups[regions.labels[row + columns[x]]]]) continue;
        mask.labels[y * mask.width + x] = value;
        if (x < box[0]) box[0] = x;
        if (x >= box[2]) box[2] = x + 1;
        if (y < box[1]) box[1] = y;
        if (y >= box[3]) box[3] = y + 1;
      }
    }
    return box;
  }

  return {
    ready: () => regions !== null,
    none: () => new Uint8Array(regions.count),
    preview: (chosen, size, color) => ({ regions, roots: cut(size), chosen, color }),
    touch, apply,
  };
}
