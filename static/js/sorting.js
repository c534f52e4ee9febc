// Which of the dropped files are images, which are masks, and which belong together. Knows nothing of the page.
(() => {
  "use strict";
  const MASK_FOLDER = /(^|[\/_\-. ])(masks?|labels?|annotations?|seg(mentation)?s?|gt|ground[_-]?truth)([\/_\-. ]|$)/i;
  const MASK_SUFFIX = /(_mask|-mask|_label|-label|_gt)$/i;

  function stem(name) {
    const bare = name.split(/[\\/]/).pop();
    const dot = bare.lastIndexOf(".");
    return (dot > 0 ? bare.slice(0, dot) : bare).normalize("NFC").toLowerCase();
  }

  // A PNG says in its header whether it is grey or has a palette: photos seldom do, masks mostly.
  async function looksLikeMask(file) {
    if (!/\.png$/i.test(file.name)) return false;
    const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
    if (head[1] !== 0x50) return false;
    return head[25] === 0 || head[25] === 3 || (await fewColours(file));
  }

  async function fewColours(file) {
    try {
      const bitmap = await createImageBitmap(file, { resizeWidth: 64, resizeHeight: 64, resizeQuality: "pixelated" });
      const canvas = new OffscreenCanvas(64, 64);
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      pen.drawImage(bitmap, 0, 0);
      return new Set(new Uint32Array(pen.getImageData(0, 0, 64, 64).data.buffer)).size <= 64;
    } catch {
      return false;
    }
  }

  // files: [{file, path}] -> {images, masks, archives, other}
  async function sort(files) {
    const sorted = { images: [], masks: [], archives: [], other: [] };
    for (const { file, path } of files) {
      if (file.name.startsWith(".")) continue;
      if (/\.zip$/i.test(file.name)) sorted.archives.push(file);
      else if (!/\.(png|jpe?g|webp|gif|bmp|tiff?|svg)$/i.test(file.name)) sorted.other.push(file);
      else if (MASK_FOLDER.test(path) || MASK_SUFFIX.test(stem(file.name)) || (await looksLikeMask(file))) sorted.masks.push(file);
      else sorted.images.push(file);
    }
    // Two PNGs of one name that look alike: a folder that says nothing cannot settle it, so the page asks.
    return sorted;
  }

  // [{stem, image, mask}] in alphabetical order; a partner that is missing is null
  function pair(images, masks) {
    const rows = new Map();
    for (const image of images) rows.set(stem(image.name), { stem: stem(image.name), image, mask: null });
    for (const mask of masks) {
      const own = stem(mask.name);
      const key = rows.has(own) ? own : own.replace(MASK_SUFFIX, "");
      if (rows.has(key) && !rows.get(key).mask) rows.get(key).mask = mask;
      else rows.set(`${own} `, { stem: own, image: null, mask });
    }
    return [...rows.values()].sort((a, b) => a.stem.localeCompare(b.stem));
  }

  // What a drop holds, folders opened: [{file, path}]
  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
    if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
    const found = [];
    const walk = async (entry) => {
      if (entry.isFile) {
        found.push({ file: await new Promise((yes, no) => entry.file(yes, no)), path: entry.fullPath });
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const part = await new Promise((yes, no) => reader.readEntries(yes, no));
        if (!part.length) return;
        for (const inner of part) await walk(inner);
      }
    };
    for (const entry of entries) await walk(entry);
    return found;
  }

  window.sorting = { sort, pair, dropped, stem };
})();
