// A small copy of the mask in which a painted pixel wins over unpainted ones, so that thin strokes are still there: it
// is what goes to the server for a live answer, and what is drawn when a large image is seen whole.
import { isNothing } from "./raster.js";

const LONGEST = 1024; // pixels of its longer side

// mask: {labels, width, height}, 255 for unpainted
export function createCoarse(mask) {
  const factor = Math.min(1, LONGEST / Math.max(mask.width, mask.height));
  const width = Math.max(1, Math.round(mask.width * factor));
  const height = Math.max(1, Math.round(mask.height * factor));
  const own = factor < 1;
  const labels = own ? new Uint8Array(width * height) : mask.labels;
  // The first pixel of the image that belongs to each column and row, and one behind the last.
  const starts = (count, size) => Uint32Array.from({ length: count + 1 }, (_, k) => Math.ceil((k * size) / count));
  const [columns, rows] = [starts(width, mask.width), starts(height, mask.height)];

  function update(box) {
    if (!own || isNothing(box)) return;
    const [left, right] = [Math.floor((box[0] * width) / mask.width), Math.min(width, Math.floor(((box[2] - 1) * width) / mask.width) + 1)];
    const [top, bottom] = [Math.floor((box[1] * height) / mask.height), Math.min(height, Math.floor(((box[3] - 1) * height) / mask.height) + 1)];
    for (let y = top; y < bottom; y += 1) {
      for (let x = left; x < right; x += 1) labels[y * width + x] = winner(columns[x], columns[x + 1], rows[y], rows[y + 1]);
    }
  }

  function winner(left, right, top, bottom) {
    for (let y = top; y < bottom; y += 1) {
      const row = y * mask.width;
      for (let x = left; x < right; x += 1) if (mask.labels[row + x] !== 255) return mask.labels[row + x];
    }
    return 255;
  }

  update([0, 0, mask.width, mask.height]);
  return { labels, width, height, update };
}
