// What belongs together in an image: small regions of even colour, and the order in which they join into larger ones.
// Runs in a worker (a message with pixels comes back as regions) and is plain functions in a page.
//
// Regions grow from a grid of seeds over the image's slopes, flattest first, so that they meet at edges. Then the two
// neighbours that look most alike are joined, again and again; a cut through that order gives regions of any size.
const WANTED = 2500; // regions to begin with

// Brightness and two colour differences of each pixel, three planes of bytes with a little smoothing.
function planes(rgba, width, height) {
  const count = width * height;
  const bright = new Float32Array(count);
  const red = new Float32Array(count);
  const blue = new Float32Array(count);
  for (let k = 0, p = 0; k < count; k += 1, p += 4) {
    const light = 0.299 * rgba[p] + 0.587 * rgba[p + 1] + 0.114 * rgba[p + 2];
    bright[k] = light;
    red[k] = (rgba[p] - light) * 0.9;
    blue[k] = (rgba[p + 2] - light) * 0.7;
  }
  return [bright, red, blue].map((plane) => smooth(plane, width, height));
}

function smooth(plane, width, height) {
  const across = new Float32Array(plane.length);
  const out = new Float32Array(plane.length);
  for (let y = 0; y < height; y += 1) {
    const row = y * width;
    for (let x = 0; x < width; x += 1) {
      const left = x > 0 ? x - 1 : 0;
      const right = x < width - 1 ? x + 1 : x;
      across[row + x] = (plane[row + left] + 2 * plane[row + x] + plane[row + right]) / 4;
    }
  }
  for (let y = 0; y < height; y += 1) {
    const row = y * width;
    const up = Math.max(0, y - 1) * width;
    const down = Math.min(height - 1, y + 1) * width;
    for (let x = 0; x < width; x += 1) out[row + x] = (across[up + x] + 2 * across[row + x] + across[down + x]) / 4;
  }
  return out;
}

// How steep the image is at each pixel, 0 to 255.
function slopes(colors, width, height) {
  const out = new Uint8Array(width * height);
  for (const plane of colors) {
    for (let y = 0; y < height; y += 1) {
      const row = y * width;
      const up = Math.max(0, y - 1) * width;
      const down = Math.min(height - 1, y + 1) * width;
      for (let x = 0; x < width; x += 1) {
        const left = x > 0 ? x - 1 : 0;
        const right = x < width - 1 ? x + 1 : x;
        const step = Math.abs(plane[row + right] - plane[row + left]) + Math.abs(plane[down + x] - plane[up + x]);
        if (step > out[row + x]) out[row + x] = step < 255 ? step : 255;
      }
    }
  }
  return out;
}

// One seed in each cell of a grid, where the cell is flattest; then all grow at once, flattest pixels first.
function flood(steep, width, height) {
  const cell = Math.max(2, Math.sqrt((width * height) / WANTED));
  const total = width * height;
  const labels = new Int32Array(total).fill(-1);
  const first = new Int32Array(256).fill(-1);
  const last = new Int32Array(256).fill(-1);
  const next = new Int32Array(total).fill(-1);
  const put = (pixel, level) => {
    if (last[level] < 0) first[level] = pixel; else next[last[level]] = pixel;
    last[level] = pixel;
  };
  let count = 0;
  const [across, along] = [Math.max(1, Math.round(width / cell)), Math.max(1, Math.round(height / cell))];
  for (let j = 0; j < along; j += 1) {
    for (let i = 0; i < across; i += 1) {
      const [x0, x1] = [Math.floor((i * width) / across), Math.floor(((i + 1) * width) / across)];
      const [y0, y1] = [Math.floor((j * height) / along), Math.floor(((j + 1) * height) / along)];
      let best = -1;
      let least = Infinity;
      for (let y = y0; y < y1; y += 1) {
        for (let x = x0; x < x1; x += 1) {
          const far = Math.abs(x - (x0 + x1 - 1) / 2) + Math.abs(y - (y0 + y1 - 1) / 2);
          const worth = steep[y * width + x] + far / cell;
          if (worth < least) [least, best] = [worth, y * width + x];
        }
      }
      if (best < 0) continue;
      labels[best] = count;
      count += 1;
      put(best, steep[best]);
    }
  }
  for (let level = 0; level < 256; level += 1) {
    while (first[level] >= 0) {
      const pixel = first[level];
      first[level] = next[pixel];
      if (first[level] < 0) last[level] = -1;
      const x = pixel % width;
      const label = labels[pixel];
      for (let side = 0; side < 4; side += 1) {
        let other = pixel;
        if (side === 0) other = x > 0 ? pixel - 1 : -1;
        else if (side === 1) other = x < width - 1 ? pixel + 1 : -1;
        else if (side === 2) other = pixel - width;
        else other = pixel + width;
        if (other < 0 || other >= total || labels[other] >= 0) continue;
        labels[other] = label;
        const at = steep[other] > level ? steep[other] : level;
        if (last[at] < 0) first[at] = other; else next[last[at]] = other;
        last[at] = other;
      }
    }
  }
  return { labels, count };
}

// Which regions touch, how steep it is between them in all, and along how many pixels: [{a, b, steep, length}].
function borders(labels, steep, width, height, count) {
  const found = new Map();
  let key = -1;
  let edge = null; // mostly the same as at the pixel before
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const here = y * width + x;
      for (let side = 0; side < 2; side += 1) {
        if (side ? y + 1 >= height : x + 1 >= width) continue;
        const there = side ? here + width : here + 1;
        if (labels[here] === labels[there]) continue;
        const a = Math.min(labels[here], labels[there]);
        const b = Math.max(labels[here], labels[there]);
        if (a * count + b !== key) {
          key = a * count + b;
          edge = found.get(key);
          if (!edge) found.set(key, (edge = { a, b, steep: 0, length: 0 }));
        }
        edge.steep += Math.max(steep[here], steep[there]);
        edge.length += 1;
      }
    }
  }
  return [...found.values()];
}

// A heap of [cost, a, b, stamp] by cost.
class Heap {
  constructor() { this.items = []; }
  push(item) {
    const items = this.items;
    let k = items.length;
    items.push(item);
    while (k > 0) {
      const up = (k - 1) >> 1;
      if (items[up][0] <= item[0]) break;
      items[k] = items[up];
      k = up;
    }
    items[k] = item;
  }
  pop() {
    const items = this.items;
    const top = items[0];
    const item = items.pop();
    if (!items.length) return top;
    let k = 0;
    for (;;) {
      let down = 2 * k + 1;
      if (down >= items.length) break;
      if (down + 1 < items.length && items[down + 1][0] < items[down][0]) down += 1;
      if (items[down][0] >= item[0]) break;
      items[k] = items[down];
      k = down;
    }
    items[k] = item;
    return top;
  }
}

// The order of joining: pairs (kept, gone), flat.
function join(labels, colors, edges, count) {
  const size = new Float64Array(count);
  const sums = colors.map(() => new Float64Array(count));
  for (let k = 0; k < labels.length; k += 1) size[labels[k]] += 1;
  colors.forEach((plane, c) => {
    for (let k = 0; k < labels.length; k += 1) sums[c][labels[k]] += plane[k];
  });
  const touching = Array.from({ length: count }, () => new Map());
  for (const edge of edges) {
    const shared = { steep: edge.steep, length: edge.length, stamp: 0 };
    touching[edge.a].set(edge.b, shared);
    touching[edge.b].set(edge.a, shared);
  }
  const cost = (a, b, shared) => {
    let apart = 0;
    for (let c = 0; c < 3; c += 1) {
      const step = sums[c][a] / size[a] - sums[c][b] / size[b];
      apart += step * step;
    }
    const unlike = Math.sqrt(apart) + 0.5 * (shared.steep / shared.length);
    return unlike * unlike * Math.sqrt((size[a] * size[b]) / (size[a] + size[b]));
  };
  const heap = new Heap();
  for (const edge of edges) heap.push([cost(edge.a, edge.b, touching[edge.a].get(edge.b)), edge.a, edge.b, 0]);
  const order = [];
  const gone = new Uint8Array(count);
  while (heap.items.length) {
    const [, a, b, stamp] = heap.pop();
    const shared = touching[a].get(b);
    if (gone[a] || gone[b] || !shared || shared.stamp !== stamp) continue;
    const [kept, lost] = touching[a].size >= touching[b].size ? [a, b] : [b, a];
    order.push(kept, lost);
    gone[lost] = 1;
    size[kept] += size[lost];
    for (let c = 0; c < 3; c += 1) sums[c][kept] += sums[c][lost];
    touching[kept].delete(lost);
    for (const [other, theirs] of touching[lost]) {
      if (other === kept) continue;
      touching[other].delete(lost);
      const mine = touching[kept].get(other);
      if (mine) {
        mine.steep += theirs.steep;
        mine.length += theirs.length;
      } else {
        touching[kept].set(other, theirs);
        touching[other].set(kept, theirs);
      }
    }
    touching[lost].clear();
    for (const [other, now] of touching[kept]) {
      now.stamp += 1;
      heap.push([cost(kept, other, now), kept, other, now.stamp]);
    }
  }
  return Int32Array.from(order);
}

// {labels: region of each pixel, count, order}
export function compute(rgba, width, height) {
  const colors = planes(rgba, width, height);
  const steep = slopes(colors, width, height);
  const { labels, count } = flood(steep, width, height);
  const order = join(labels, colors, borders(labels, steep, width, height, count), count);
  return { labels, count, order, width, height };
}

// Which group each region is in when `groups` of them are left.
export function cut(regions, groups) {
  const parent = Int32Array.from({ length: regions.count }, (_, k) => k);
  const joins = Math.max(0, Math.min(regions.order.length / 2, regions.count - groups));
  for (let k = 0; k < joins; k += 1) parent[regions.order[2 * k + 1]] = regions.order[2 * k];
  for (let k = 0; k < parent.length; k += 1) {
    let root = k;
    while (parent[root] !== root) root = parent[root];
    for (let at = k; parent[at] !== root; ) [parent[at], at] = [root, parent[at]];
  }
  return parent;
}

// size 0 to 100: from the smallest regions to half the image
export function groupsFor(regions, size) {
  const all = Math.log(Math.max(2, regions.count));
  return Math.round(Math.exp(all + ((Math.log(2) - all) * size) / 100));
}

if (typeof window === "undefined") {
  self.onmessage = (event) => {
    const { rgba, width, height } = event.data;
    const began = performance.now();
    const regions = compute(rgba, width, height);
    regions.took = performance.now() - began;
    self.postMessage(regions, [regions.labels.buffer, regions.order.buffer]);
  };
}
