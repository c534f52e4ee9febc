// What the paint page shows: the image, the mask over it, and the marks of the tools, at any zoom. The mask is drawn
// from the class ids for each pixel of the screen, so a large image costs no more than a small one.
const MOST_ZOOM = 40; // screen pixels for one of the image
const SHARP_FROM = 3; // from this zoom on single pixels are shown as they are

// stage: an element with three canvases; image: the loaded image; mask: {labels, width, height}
export function createView(stage, image, mask) {
  const [under, over, marks] = stage.querySelectorAll("canvas");
  const { width, height } = mask;
  const colors = new Uint32Array(256); // RGBA of each class id; 255 stays clear
  let scale = 1; // screen pixels (of CSS) for one of the image
  let least = 1;
  let at = [0, 0]; // where the image's corner lies, in CSS pixels of the stage
  let dense = 1;
  let waiting = 0;
  let preview = null; // {regions, roots, chosen: Uint8Array by root, color}
  let drawMarks = () => {};

  function place() {
    const box = [stage.clientWidth, stage.clientHeight];
    at = at.map((value, axis) => {
      const size = [width, height][axis] * scale;
      const spare = Math.min(80, box[axis] / 3); // the image may be pushed aside a little, to reach its edges
      return size <= box[axis] ? (box[axis] - size) / 2 : Math.min(spare, Math.max(box[axis] - size - spare, value));
    });
    Object.assign(stage.dataset, { scale, left: at[0], top: at[1] });
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

  function redraw() {
    if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; draw(); });
  }

  function draw() {
    const pen = under.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, under.width, under.height);
    pen.imageSmoothingEnabled = scale < SHARP_FROM;
    pen.setTransform(dense * scale, 0, 0, dense * scale, dense * at[0], dense * at[1]);
    pen.drawImage(image, 0, 0, width, height);
    drawMask();
    redrawMarks();
  }

  // Which pixel of the image each column (or row) of the screen shows; -1 outside.
  function along(count, offset, size) {
    const out = new Int32Array(count);
    for (let k = 0; k < count; k += 1) {
      const place_ = Math.floor(((k + 0.5) / dense - offset) / scale);
      out[k] = place_ >= 0 && place_ < size ? place_ : -1;
    }
    return out;
  }

  function drawMask() {
    const pen = over.getContext("2d");
    const out = pen.createImageData(over.width, over.height);
    const cells = new Uint32Array(out.data.buffer);
    const columns = along(over.width, at[0], width);
    const rows = along(over.height, at[1], height);
    const { labels } = mask;
    const groups = preview && preview.regions;
    for (let y = 0, p = 0; y < rows.length; y += 1) {
      if (rows[y] < 0) { p += columns.length; continue; }
      const row = rows[y] * width;
      const above = groups ? Math.floor(((rows[y] + 0.5) * groups.height) / height) * groups.width : 0;
      for (let x = 0; x < columns.length; x += 1, p += 1) {
        const column = columns[x];
        if (column < 0) continue;
        cells[p] = colors[labels[row + column]];
        if (groups && preview.chosen[preview.roots[groups.labels[above + Math.floor(((column + 0.5) * groups.width) / width)]]]) {
          if ((x + y) % 6 < 3) cells[p] = preview.color;
        }
      }
    }
    pen.putImageData(out, 0, 0);
  }

  function redrawMarks() {
    const pen = marks.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, marks.width, marks.height);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    drawMarks(pen, toStage, scale);
  }

  const word = (color) => {
    const rgb = parseInt(color.slice(1), 16);
    return ((255 << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
  };

  function setColors(classes) {
    colors.fill(0);
    for (const row of classes) if (row.id < 255) colors[row.id] = word(row.color);
    redraw();
  }

  function setPreview(next) {
    if (!next && !preview) return;
    preview = next && { ...next, color: next.color ? word(next.color) : 0xffffffff };
    redraw();
  }

  new ResizeObserver(resize).observe(stage);
  fit();
  return {
    fit, zoom, pan, show, redraw, redrawMarks, toImage, toStage, setColors, setPreview,
    setMarks: (how) => { drawMarks = how; },
    setOpacity: (value) => over.style.setProperty("opacity", value),
  };
}
