// Drawing into a buffer of class ids, one byte a pixel, without anti-aliasing, and writing it as a grey PNG.
// A pixel is painted when its centre lies in the shape. Knows nothing of the page.
// A box that has nothing in it yet: [left, top, right, bottom], the last two behind the last pixel.
export const nothing = () => [Infinity, Infinity, -Infinity, -Infinity];
export const isNothing = (box) => box[2] <= box[0] || box[3] <= box[1];

export function grow(box, left, top, right, bottom) {
  if (left < box[0]) box[0] = left;
  if (top < box[1]) box[1] = top;
  if (right > box[2]) box[2] = right;
  if (bottom > box[3]) box[3] = bottom;
}

// mask: {labels, width, height}. A round brush of `size` pixels drawn from one point to another: every pixel whose centre
// is at most half of it away from the line between them.
export function stroke(mask, from, to, size, value) {
  const { labels, width, height } = mask;
  const radius = size / 2;
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = dx * dx + dy * dy;
  const within = (px, py) => {
    const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
    return (px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius;
  };
  const top = Math.max(0, Math.floor(Math.min(from[1], to[1]) - radius));
  const bottom = Math.min(height, Math.ceil(Math.max(from[1], to[1]) + radius) + 1);
  const box = nothing();
  for (let y = top; y < bottom; y += 1) {
    const py = y + 0.5 - from[1];
    const [first, last] = span(py, dx, dy, length, radius);
    // The span is right but for rounding: its ends are found exactly.
    let left = Math.max(0, Math.floor(first + from[0] - 0.5) - 1);
    let right = Math.min(width - 1, Math.ceil(last + from[0] - 0.5) + 1);
    while (left <= right && !within(left + 0.5 - from[0], py)) left += 1;
    while (right >= left && !within(right + 0.5 - from[0], py)) right -= 1;
    if (right < left) continue;
    labels.fill(value, y * width + left, y * width + right + 1);
    grow(box, left, y, right + 1, y + 1);
  }
  // The pixel under the point itself, however small the brush is.
  const [x, y] = [Math.floor(to[0]), Math.floor(to[1])];
  if (x >= 0 && y >= 0 && x < width && y < height) {
    labels[y * width + x] = value;
    grow(box, x, y, x + 1, y + 1);
  }
  return box;
}

// Where a row crosses the brush's path, relative to its start: the two round ends and the straight part between them.
function span(py, dx, dy, length, radius) {
  let [first, last] = [Infinity, -Infinity];
  const add = (a, b) => {
    if (a > b) return;
    first = Math.min(first, a);
    last = Math.max(last, b);
  };
  for (const [cx, cy] of [[0, 0], [dx, dy]]) {
    const half = radius * radius - (py - cy) ** 2;
    if (half >= 0) add(cx - Math.sqrt(half), cx + Math.sqrt(half));
  }
  if (!length) return [first, last];
  const reach = radius * Math.sqrt(length);
  const ends = dx ? [-py * dy / dx, (length - py * dy) / dx].sort((a, b) => a - b) : straight(py * dy >= 0 && py * dy <= length);
  const sides = dy ? [(py * dx - reach) / dy, (py * dx + reach) / dy].sort((a, b) => a - b) : straight(Math.abs(py * dx) <= reach);
  add(Math.max(ends[0], sides[0]), Math.min(ends[1], sides[1]));
  return [first, last];
}
const straight = (inside) => (inside ? [-Infinity, Infinity] : [Infinity, -Infinity]);

// points: [[x, y], …], closed by itself; inside by the even-odd rule.
export function polygon(mask, points, value) {
  const { labels, width, height } = mask;
  const box = nothing();
  const ys = points.map((point) => point[1]);
  const top = Math.max(0, Math.floor(Math.min(...ys)));
  const bottom = Math.min(height, Math.ceil(Math.max(...ys)));
  for (let y = top; y < bottom; y += 1) {
    const level = y + 0.5;
    const cuts = [];
    points.forEach((a, k) => {
      const b = points[(k + 1) % points.length];
      if ((a[1] <= level) !== (b[1] <= level)) cuts.push(a[0] + ((level - a[1]) * (b[0] - a[0])) / (b[1] - a[1]));
    });
    cuts.sort((a, b) => a - b);
    for (let k = 0; k + 1 < cuts.length; k += 2) {
      const first = Math.max(0, Math.ceil(cuts[k] - 0.5));
      const last = Math.min(width, Math.ceil(cuts[k + 1] - 0.5));
      if (last <= first) continue;
      labels.fill(value, y * width + first, y * width + last);
      grow(box, first, y, last, y + 1);
    }
  }
  return box;
}

// The connected pixels of one value around a pixel get another.
export function fill(mask, x, y, value) {
  const { labels, width, height } = mask;
  const box = nothing();
  const old = labels[y * width + x];
  if (old === value) return box;
  const open = [x, y];
  while (open.length) {
    const row = open.pop();
    const start = row * width;
    let left = open.pop();
    if (labels[start + left] !== old) continue;
    let right = left + 1;
    while (left > 0 && labels[start + left - 1] === old) left -= 1;
    while (right < width && labels[start + right] === old) right += 1;
    labels.fill(value, start + left, start + right);
    grow(box, left, row, right, row + 1);
    for (const next of [row - 1, row + 1]) {
      if (next < 0 || next >= height) continue;
      for (let k = left; k < right; k += 1) {
        const here = next * width + k;
        if (labels[here] === old && (k === left || labels[here - 1] !== old)) open.push(k, next);
      }
    }
  }
  return box;
}

export function cut(labels, width, box) {
  const [left, top, right, bottom] = box;
  const out = new Uint8Array((right - left) * (bottom - top));
  for (let y = top; y < bottom; y += 1) out.set(labels.subarray(y * width + left, y * width + right), (y - top) * (right - left));
  return out;
}

export function paste(labels, width, box, part) {
  const [left, top, right, bottom] = box;
  const row = right - left;
  for (let y = top; y < bottom; y += 1) labels.set(part.subarray((y - top) * row, (y - top + 1) * row), y * width + left);
}

// --- PNG: 8-bit grey, no filters ---
const CRC = new Uint32Array(256).map((_, k) => {
  let c = k;
  for (let bit = 0; bit < 8; bit += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function chunk(name, data) {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let k = 0; k < 4; k += 1) out[4 + k] = name.charCodeAt(k);
  out.set(data, 8);
  let crc = 0xffffffff;
  for (let k = 4; k < 8 + data.length; k += 1) crc = CRC[(crc ^ out[k]) & 255] ^ (crc >>> 8);
  view.setUint32(8 + data.length, (crc ^ 0xffffffff) >>> 0);
  return out;
}

export async function png(mask) {
  const { labels, width, height } = mask;
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y += 1) rows.set(labels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head[8] = 8; // bits; the rest stays 0: grey, deflate, no interlace
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const start = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return new Blob([start, chunk("IHDR", head), chunk("IDAT", data), chunk("IEND", new Uint8Array(0))], { type: "image/png" });
}

// The values of a grey PNG, read in bands of rows so that a large one needs little memory. `scaled`: one of another size
// is smoothly brought to this one.
export async function read(blob, width, height, scaled = false) {
  const fitted = scaled ? { resizeWidth: width, resizeHeight: height, resizeQuality: "medium" } : {};
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none", ...fitted });
  if (bitmap.width !== width || bitmap.height !== height) throw new Error("size");
  const labels = new Uint8Array(width * height);
  const canvas = document.createElement("canvas");
  const band = Math.min(height, Math.max(1, Math.floor(4e6 / width)));
  [canvas.width, canvas.height] = [width, band];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += band) {
    const rows = Math.min(band, height - top);
    pen.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    const pixels = pen.getImageData(0, 0, width, rows).data;
    for (let k = 0, start = top * width; k < width * rows; k += 1) labels[start + k] = pixels[4 * k];
  }
  bitmap.close();
  return labels;
}
