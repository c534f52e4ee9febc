// Undo and redo: for every change the box it touched, before and after. The oldest go when they take too much room.
import { cut, isNothing, paste } from "./raster.js";

const MOST_BYTES = 96e6;

// mask: {labels, width, height}; changed(): called after every step
export function createHistory(mask, changed) {
  let shadow = mask.labels.slice(); // the mask as it was after the last step
  let steps = [];
  let done = 0; // how many of the steps are in effect
  const bytes = () => steps.reduce((sum, step) => sum + 2 * step.before.length, 0);

  function keep(box) {
    if (isNothing(box)) return false;
    const [before, after] = [cut(shadow, mask.width, box), cut(mask.labels, mask.width, box)];
    if (before.every((value, k) => value === after[k])) return false;
    steps = [...steps.slice(0, done), { box, before, after }];
    while (steps.length > 1 && bytes() > MOST_BYTES) steps.shift();
    done = steps.length;
    paste(shadow, mask.width, box, after);
    changed();
    return true;
  }

  function put(step, part) {
    paste(mask.labels, mask.width, step.box, part);
    paste(shadow, mask.width, step.box, part);
    changed();
    return true;
  }

  return {
    keep,
    // Takes back what was drawn since the last step.
    drop: (box) => {
      if (!isNothing(box)) paste(mask.labels, mask.width, box, cut(shadow, mask.width, box));
    },
    undo: () => done > 0 && put(steps[(done -= 1)], steps[done].before),
    redo: () => done < steps.length && put(steps[done], steps[(done += 1) - 1].after),
    forget: () => { [steps, done] = [[], 0]; },
    can: () => ({ undo: done > 0, redo: done < steps.length }),
  };
}
