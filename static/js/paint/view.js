// What the paint page shows: the image, over it strokes and the live answer, and the marks of the tools, at any zoom.
// Strokes and answer are drawn from class ids for each pixel of the screen, so a large image costs no more than a small
// one, and while a stroke is drawn only the part of the screen that it touches is.
import { grow, isNothing, nothing } from "./raster.js";
import { createPyramid } from "./pyramid.js";

const MOST_ZOOM = 40; // screen pixels for one of the image
const SHARP_FROM = 3; // from this zoom on single pixels are shown as they are
const EDGE = 0xffffffff; // around strokes

const rgbOf = (color) => {
  const rgb = parseInt(color.slice(1), 16);
  return ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16);
};
const withAlpha = (rgb, alpha) => ((Math.round(alpha) << 24) | rgb) >>> 0;

// stage: an element with three canvases; image: the loaded image; mask: {labels, width, height}; coarse: its small copy
export function createView(stage, image, mask, coarse) {
  const [under, over, marks] = stage.querySelectorAll("canvas");
  const outline = stage.querySelector("[data-tip]"); // of the brush: an element moves for nothing, a canvas does not
  let tip = null; // {at, size} in pixels of the image
  const { width, height } = mask;
  const pyramid = createPyramid(image, width, height);
  const colors = new Uint32Array(256); // of each class, without alpha; 255 stays clear
  const strokes = new Uint32Array(256); // the same with the strokes' alpha
  const known = new Uint8Array(256); // which classes have a colour
  let [strokeAlpha, answerAlpha, edged] = [0.6, 0.4, false];
  let answer = null; // {ids, sure, width, height, cells}: class ids and confidence, cells are their colours
  let preview = null; // {regions, roots, chosen: Uint8Array by root, color}
  let scale = 1; // screen pixels (of CSS) for one of the image
  let least = 1;
  let at = [0, 0]; // where the image's corner lies, in CSS pixels of the stage
  let dense = 1;
  let sampling = null; // which pixel of each layer a column or row of the screen shows
  let drawMarks = () => {};

  // --- what is to be drawn in the next frame ---
  let waiting = 0;
  let [whole, marksToo, dirty] = [false, false, nothing()];

  function plan() {
    if (!waiting) waiting = requestAnimationFrame(draw);
  }
  function redraw() { // the strokes and the answer, everywhere
    dirty = [0, 0, width, height];
    plan();
  }
  function touch(box) { // where strokes have changed, in pixels of the image
    if (isNothing(box)) return;
    grow(dirty, ...box);
    plan();
  }
  function redrawMarks() {
    marksToo = true;
    plan();
  }

  function draw() {
    waiting = 0;
    if (whole) drawImage();
    if (!isNothing(dirty)) drawMask(dirty);
    if (whole || marksToo) marksNow();
    [whole, marksToo, dirty] = [false, false, nothing()];
  }

  // --- where the image lies ---
  function place() {
    const box = [stage.clientWidth, stage.clientHeight];
    at = at.map((value, axis) => {
      const size = [width, height][axis] * scale;
      const spare = Math.min(80, box[axis] / 3); // the image may be pushed aside a little, to reach its edges
      return size <= box[axis] ? (box[axis] - size) / 2 : Math.min(spare, Math.max(box[axis] - size - spare, value));
    });
    Object.assign(stage.dataset, { scale, left: at[0], top: at[1] });
    showTip();
    [sampling, whole] = [null, true];
    redraw();
  }

  function fit() {
    dense = Math.min(2, window.devicePixelRatio || 1);
    for (const canvas of [under, over, marks]) {
      canvas.width = Math.max(1, Math.round(stage.clientWidth * dense));
      canvas.height = Math.max(1, Math.round(stage.clientHeight * dense));
    }
    least = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    scale = least;
    at = [0, 0];
    place();
  }

  function resize() {
    const before = [stage.clientWidth / 2, stage.clientHeight / 2].map((value, axis) => (value - at[axis]) / scale);
    const [zoomed, old] = [scale > least * 1.01, scale];
    fit();
    if (!zoomed) return;
    scale = old;
    at = [stage.clientWidth / 2 - before[0] * scale, stage.clientHeight / 2 - before[1] * scale];
    place();
  }

  function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const next = Math.min(Math.max(scale * factor, least * 0.8), Math.max(least * 4, MOST_ZOOM));
    at = [x - ((x - at[0]) * next) / scale, y - ((y - at[1]) * next) / scale];
    scale = next;
    place();
  }

  function pan(dx, dy) {
    at = [at[0] + dx, at[1] + dy];
    place();
  }

  const toImage = (x, y) => [(x - at[0]) / scale, (y - at[1]) / scale];
  const toStage = (x, y) => [x * scale + at[0], y * scale + at[1]];

  // Brings a point of the image into sight.
  function show(x, y) {
    const [sx, sy] = toStage(x, y);
    const edge = 24;
    const aside = (value, size) => (value < edge ? edge - value : value > size - edge ? size - edge - value : 0);
    const [dx, dy] = [aside(sx, stage.clientWidth), aside(sy, stage.clientHeight)];
    if (dx || dy) pan(dx, dy);
  }

  function showTip() {
    outline.hidden = !tip;
    if (!tip) return;
    const [[x, y], across] = [toStage(...tip.at), Math.max(4, tip.size * scale)];
    outline.style.setProperty("width", `${across}px`);
    outline.style.setProperty("height", `${across}px`);
    outline.style.setProperty("transform", `translate(${x - across / 2}px, ${y - across / 2}px)`);
  }

  function drawImage() {
    const pen = under.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, under.width, under.height);
    pen.imageSmoothingEnabled = scale < SHARP_FROM;
    pen.setTransform(dense * scale, 0, 0, dense * scale, dense * at[0], dense * at[1]);
    pen.drawImage(pyramid.at(scale * dense), 0, 0, width, height);
  }

  // --- strokes and answer ---
  // Which pixel of a layer each column (or row) of the screen shows; -1 outside.
  function along(count, offset, size, layerSize) {
    const out = new Int32Array(count);
    for (let k = 0; k < count; k += 1) {
      const place_ = ((k + 0.5) / dense - offset) / scale;
      out[k] = place_ >= 0 && place_ < size ? Math.floor((place_ * layerSize) / size) : -1;
    }
    return out;
  }
  const alongBoth = (layer) => [along(over.width, at[0], width, layer.width), along(over.height, at[1], height, layer.height)];

  function sample() {
    const source = scale * dense < coarse.width / width ? coarse : mask;
    return {
      source,
      mask: alongBoth(source),
      answer: answer && alongBoth(answer),
      groups: preview && alongBoth(preview.regions),
    };
  }

  // The rectangle of the screen that shows a box of the image, with one pixel more for the strokes' edges.
  function onScreen(box) {
    const side = (value, axis, more) => (value * scale + at[axis]) * dense + more;
    const reach = 1 + (dense * scale) / Math.min(1, coarse.width / width);
    const [left, top] = [0, 1].map((axis) => Math.max(0, Math.floor(side(box[axis], axis, -reach))));
    const right = Math.min(over.width, Math.ceil(side(box[2], 0, reach)));
    return [left, top, right, Math.min(over.height, Math.ceil(side(box[3], 1, reach)))];
  }

  function drawMask(box) {
    const [left, top, right, bottom] = onScreen(box);
    if (right <= left || bottom <= top) return;
    sampling = sampling || sample();
    const pen = over.getContext("2d");
    const out = pen.createImageData(right - left, bottom - top);
    const cells = new Uint32Array(out.data.buffer);
    const { source: { labels, width: stride }, mask: [columns, rows] } = sampling;
    const [answerColumns, answerRows] = sampling.answer || [];
    const edge = withAlpha(EDGE & 0xffffff, Math.min(255, strokeAlpha * 400));
    for (let y = top, p = 0; y < bottom; y += 1) {
      if (rows[y] < 0) { p += right - left; continue; }
      const row = rows[y] * stride;
      const above = y > 0 && rows[y - 1] >= 0 ? rows[y - 1] * stride : row;
      const below = y + 1 < rows.length && rows[y + 1] >= 0 ? rows[y + 1] * stride : row;
      const answerRow = answer ? answerRows[y] * answer.width : 0;
      for (let x = left; x < right; x += 1, p += 1) {
        const column = columns[x];
        if (column < 0) continue;
        const label = labels[row + column];
        if (label === 255) {
          if (answer) cells[p] = answer.cells[answerRow + answerColumns[x]];
        } else if (edged && (labels[above + column] === 255 || labels[below + column] === 255 || (columns[x + 1] >= 0 && labels[row + columns[x + 1]] === 255) || (columns[x - 1] >= 0 && labels[row + columns[x - 1]] === 255))) {
          cells[p] = edge;
        } else cells[p] = strokes[label];
      }
    }
    if (preview) stripe(cells, left, top, right, bottom);
    pen.putImageData(out, left, top);
  }

  // What a region tool would take.
  function stripe(cells, left, top, right, bottom) {
    const { regions, roots, chosen, color } = preview;
    const [columns, rows] = sampling.groups;
    for (let y = top, p = 0; y < bottom; y += 1) {
      for (let x = left; x < right; x += 1, p += 1) {
        if (rows[y] < 0 || columns[x] < 0 || (x + y) % 6 >= 3) continue;
        if (chosen[roots[regions.labels[rows[y] * regions.width + columns[x]]]]) cells[p] = color;
      }
    }
  }

  function mix() { // an answer's colours: fainter where it is less certain
    if (!answer) return;
    const alphas = Uint8Array.from({ length: 256 }, (_, k) => Math.round(255 * answerAlpha * (0.25 + 0.75 * (k / 255) ** 2)));
    const { ids, sure, cells } = answer;
    for (let k = 0; k < cells.length; k += 1) cells[k] = known[ids[k]] ? ((alphas[sure[k]] << 24) | colors[ids[k]]) >>> 0 : 0;
  }

  function tint() {
    for (let k = 0; k < 255; k += 1) strokes[k] = known[k] ? withAlpha(colors[k], 255 * strokeAlpha) : 0;
    mix();
    redraw();
  }

  function marksNow() {
    const pen = marks.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, marks.width, marks.height);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    drawMarks(pen, toStage);
  }

  new ResizeObserver(resize).observe(stage);
  fit();
  return {
    fit, zoom, pan, show, redraw, touch, redrawMarks, toImage, toStage,
    setTip: (where, size) => {
      tip = where && { at: where, size };
      showTip();
    },
    setMarks: (how) => { drawMarks = how; },
    setColors: (classes) => {
      known.fill(0);
      for (const row of classes) if (row.id < 255) [colors[row.id], known[row.id]] = [rgbOf(row.color), 1];
      tint();
    },
    // How strongly strokes and answer are tinted, from 0 to 1, and whether strokes have a white edge.
    setTints: (next) => {
      [strokeAlpha, answerAlpha, edged] = [next.strokes, next.answer, next.edged];
      tint();
    },
    // {ids, sure, width, height}, bytes for each pixel of an image of any size; null for none
    setAnswer: (next) => {
      answer = next && { ...next, cells: new Uint32Array(next.ids.length) };
      sampling = null;
      mix();
      redraw();
    },
    setPreview: (next) => {
      if (!next && !preview) return;
      preview = next && { ...next, color: next.color ? withAlpha(rgbOf(next.color), 255 * Math.max(strokeAlpha, 0.6)) : 0xffffffff };
      sampling = null;
      redraw();
    },
  };
}
