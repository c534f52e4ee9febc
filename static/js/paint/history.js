// Undo and redo. A step holds which pixels changed, as runs of one value before and one after, so that a hundred strokes
// take a few kilobytes. The oldest steps go when there are too many.
import { isNothing } from "./raster.js";

const MOST_STEPS = 300;
const MOST_BYTES = 16e6;

// Runs are triples: where one starts, its length, the value before and (in the second byte) the one after.
const PER_RUN = 3;

// A number for each class id, none for unpainted, to tell masks apart by.
const weight = (value) => (value === 255 ? 0 : Math.imul(Math.imul(value + 1, 0x9e3779b1) ^ 0x85ebca6b, 0xc2b2ae35) | 1);

// mask: {labels, width, height}, 255 for unpainted; changed(boxes): called after every step with the places it touched
export function createHistory(mask, changed) {
  const shadow = mask.labels.slice(); // the mask as it was after the last step
  let steps = []; // {runs: Uint32Array, before, after: signatures, boxes}
  let done = 0; // how many of the steps are in effect
  let painted = 0; // pixels
  let [first, second] = [0, 0]; // sums of weight times place, and times its square, modulo 2^32: a run's are formulas

  const signature = () => `${painted}.${first >>> 0}.${second >>> 0}`;

  // A run of pixels, all in one row, changes from one value to another.
  function account(start, length, before, after) {
    const sum = (length * (length - 1)) / 2; // of 0, 1 … length - 1
    const squares = (sum * (2 * length - 1)) / 3;
    const change = weight(after) - weight(before);
    first = (first + Math.imul(change, (Math.imul(length, start) + sum) | 0)) | 0;
    const places = Math.imul(length, Math.imul(start, start)) + Math.imul(2 * start, sum) + squares;
    second = (second + Math.imul(change, places | 0)) | 0;
    painted += length * ((after !== 255) - (before !== 255));
  }

  function countAll() {
    for (let y = 0; y < mask.height; y += 1) {
      const end = (y + 1) * mask.width;
      for (let k = y * mask.width; k < end;) {
        const [start, value] = [k, shadow[k]];
        while (k < end && shadow[k] === value) k += 1;
        if (value !== 255) account(start, k - start, 255, value);
      }
    }
  }
  countAll();

  // What differs from the shadow in a box, which then follows; appended to `runs`.
  function differences([left, top, right, bottom], runs) {
    const { labels } = mask;
    for (let y = top; y < bottom; y += 1) {
      const end = y * mask.width + right;
      for (let k = y * mask.width + left; k < end; k += 1) {
        const before = shadow[k];
        const after = labels[k];
        if (before === after) continue;
        const start = k;
        while (k < end && shadow[k] === before && labels[k] === after) shadow[k++] = after;
        runs.push(start, k - start, before | (after << 8));
        account(start, k - start, before, after);
        k -= 1;
      }
    }
  }

  // boxes: where something may have changed since the last step. Whether something has.
  function keep(...boxes) {
    const before = signature();
    const runs = [];
    const touched = boxes.filter((box) => !isNothing(box));
    for (const box of touched) differences(box, runs);
    if (!runs.length) return false;
    steps = [...steps.slice(0, done), { runs: Uint32Array.from(runs), before, after: signature(), boxes: touched }];
    trim();
    done = steps.length;
    changed(touched);
    return true;
  }

  function trim() {
    let bytes = steps.reduce((sum, step) => sum + step.runs.byteLength, 0);
    while (steps.length > 1 && (steps.length > MOST_STEPS || bytes > MOST_BYTES)) bytes -= steps.shift().runs.byteLength;
  }

  function apply(step, forward) {
    const { runs } = step;
    for (let k = 0; k < runs.length; k += PER_RUN) {
      const [before, after] = [runs[k + 2] & 255, runs[k + 2] >> 8];
      const [from, to] = forward ? [before, after] : [after, before];
      account(runs[k], runs[k + 1], from, to);
      mask.labels.fill(to, runs[k], runs[k] + runs[k + 1]);
      shadow.fill(to, runs[k], runs[k] + runs[k + 1]);
    }
    changed(step.boxes);
    return true;
  }

  // Takes back what was drawn since the last step.
  function drop(...boxes) {
    for (const [left, top, right, bottom] of boxes.filter((box) => !isNothing(box))) {
      for (let y = top; y < bottom; y += 1) {
        const row = y * mask.width;
        mask.labels.set(shadow.subarray(row + left, row + right), row + left);
      }
    }
  }

  // Steps of an earlier visit: those before the mask as it is now can be undone, those behind it redone. Whether the
  // mask is one that they lead to.
  function restore(earlier) {
    const now = signature();
    const last = earlier.findLastIndex((step) => step.after === now);
    const first = last < 0 ? earlier.findIndex((step) => step.before === now) : -1;
    if (last < 0 && first < 0) return false;
    steps = last < 0 ? earlier.slice(first) : [...earlier];
    done = last + 1;
    return true;
  }

  return {
    keep, drop, restore, signature,
    undo: () => done > 0 && apply(steps[(done -= 1)], false),
    redo: () => done < steps.length && apply(steps[(done += 1) - 1], true),
    forget: () => { [steps, done] = [[], 0]; },
    can: () => ({ undo: done > 0, redo: done < steps.length }),
    painted: () => painted,
    steps: () => steps,
  };
}
